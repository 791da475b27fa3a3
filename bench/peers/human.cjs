// Answer a path with the expression and the gender that @vladmandic/human reads.
// Called with the folder where npm installed it.
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { createRequire } = require("node:module");

const home = process.argv[2];
const load = createRequire(path.join(home, "package.json"));
const modules = path.join(home, "node_modules");
const sharp = load("sharp");
const { Human } = load(`${modules}/@vladmandic/human/dist/human.node-wasm.js`);

// Its models come by fetch, which knows no files.
globalThis.fetch = async (url) => {
  const type = String(url).endsWith(".json") ? "application/json" : "application/octet-stream";
  return new Response(fs.readFileSync(new URL(url)), { headers: { "content-type": type } });
};

const off = { enabled: false };
const human = new Human({
  backend: "wasm",
  wasmPath: `${modules}/@tensorflow/tfjs-backend-wasm/dist/`,
  modelBasePath: `file://${modules}/@vladmandic/human/models/`,
  face: {
    enabled: true,
    detector: { maxDetected: 64 },
    emotion: { enabled: true },
    description: { enabled: true },
    mesh: off,
    iris: off,
  },
  body: off,
  hand: off,
  object: off,
  gesture: off,
  segmentation: off,
  filter: off,
});

async function answer() {
  await human.load();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const photo = sharp(line.trim()).removeAlpha().raw();
    const { data, info } = await photo.toBuffer({ resolveWithObject: true });
    const pixels = human.tf.tensor(data, [1, info.height, info.width, 3], "float32");
    const { face } = await human.detect(pixels);
    human.tf.dispose(pixels);
    const faces = face.map(({ box, emotion, gender }) => ({
      box,
      expression: emotion?.toSorted((a, b) => b.score - a.score)[0]?.emotion,
      gender,
    }));
    console.log(JSON.stringify({ faces }));
  }
}

answer();

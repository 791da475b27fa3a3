// Answer a path with the expression and the gender that @vladmandic/face-api reads, found by its
// tiny detector. Called with the folder where npm installed it.
const path = require("node:path");
const readline = require("node:readline");
const { createRequire } = require("node:module");

const home = process.argv[2];
const load = createRequire(path.join(home, "package.json"));
const modules = path.join(home, "node_modules");
const sharp = load("sharp");
const tf = load("@tensorflow/tfjs");
const wasm = load("@tensorflow/tfjs-backend-wasm");
const faceapi = load(`${modules}/@vladmandic/face-api/dist/face-api.node-wasm.js`);

async function answer() {
  wasm.setWasmPaths(`${modules}/@tensorflow/tfjs-backend-wasm/dist/`);
  await tf.setBackend("wasm");
  await tf.ready();
  for (const network of ["tinyFaceDetector", "faceExpressionNet", "ageGenderNet"]) {
    await faceapi.nets[network].loadFromDisk(`${modules}/@vladmandic/face-api/model`);
  }
  const detector = new faceapi.TinyFaceDetectorOptions();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const photo = sharp(line.trim()).removeAlpha().raw();
    const { data, info } = await photo.toBuffer({ resolveWithObject: true });
    const pixels = tf.tensor3d(new Uint8Array(data), [info.height, info.width, 3], "int32");
    const found = await faceapi
      .detectAllFaces(pixels, detector)
      .withFaceExpressions()
      .withAgeAndGender();
    pixels.dispose();
    const faces = found.map(({ detection: { box }, expressions, gender }) => ({
      box: [box.x, box.y, box.width, box.height],
      expression: expressions.asSortedArray()[0].expression,
      gender,
    }));
    console.log(JSON.stringify({ faces }));
  }
}

answer();

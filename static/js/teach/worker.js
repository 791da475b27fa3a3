// Fits and measures the lesson beside the page, which stays smooth meanwhile.

import { FIRST_STRENGTH, measure } from "./figures.js";
import { fit, Gram } from "./logistic.js";
import { decodeFloats, decodePixels } from "./encoding.js";

const OUTDATED = Symbol("outdated");
const grams = { features: new Gram(), pixels: new Gram() };
const known = [];
let chosen = { strength: FIRST_STRENGTH, temperature: 1 };
let version = 0;

/**
 * Take the lesson as it is now: `samples` with `id`, `label` and `recording`; `fresh` ones also have
 * their features and pixels.
 */
onmessage = ({ data }) => {
  version = data.version;
  sync(data);
  if (data.classes > 1 && known.length) learn(data).catch((error) => {
    if (error !== OUTDATED) throw error;
  });
};

function sync({ samples, fresh }) {
  const wanted = new Set(samples.map(({ id }) => id));
  for (let at = known.length - 1; at >= 0; at--) {
    if (wanted.has(known[at])) continue;
    known.splice(at, 1);
    for (const gram of Object.values(grams)) gram.remove(at);
  }
  for (const { id, features, pixels } of fresh) {
    grams.features.add(decodeFloats(features));
    grams.pixels.add(decodePixels(pixels));
    known.push(id);
  }
}

async function learn({ version: own, samples, classes, withPixels }) {
  const pause = async () => {
    await new Promise((resume) => setTimeout(resume));
    if (version !== own) throw OUTDATED;
  };
  const details = new Map(samples.map((each) => [each.id, each]));
  const labels = known.map((id) => details.get(id).label);
  const recordings = known.map((id) => details.get(id).recording);
  const answer = () => postMessage({ version: own, model: fitAll(labels, classes) });
  answer();
  await pause();
  const figures = await measure({ gram: grams.features, pixels: withPixels && grams.pixels, labels, recordings, classes }, pause);
  chosen = figures;
  answer();
  postMessage({ version: own, figures: { ...figures, order: [...known] } });
}

function fitAll(labels, classes) {
  const all = labels.map((_, at) => at);
  const began = performance.now();
  const kernel = grams.features.kernel(all);
  const solution = fit(kernel, labels, classes, chosen.strength);
  const took = performance.now() - began;
  return { ...grams.features.unfold(all, kernel, solution), temperature: chosen.temperature, count: labels.length, took };
}

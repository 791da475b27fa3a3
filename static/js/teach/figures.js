// How good a lesson is: cross-validation by recording and without, calibration, and curves.

import { softmax } from "../softmax.js";
import { fit, logitsOf } from "./logistic.js";

const STRENGTHS = [1, 3, 10, 30, 100, 300, 1000];
export const FIRST_STRENGTH = 30;
const MOST_FOLDS = 5;
const CURVE_SIZES = [1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300];
const HARDEST = 6;
// Of the answers that aren't "unsure", this share should be right, as of the served models.
const TARGET_PRECISION = 0.95;
const Z = 1.96;

/**
 * Return the fold of each sample where a recording's samples stay together, or null where a class has
 * only one recording. The classes' recordings are dealt in their order: where persons take turns at
 * all classes, each fold is one of them.
 */
export function foldsByRecording(labels, recordings) {
  const orders = new Map();
  labels.forEach((label, i) => {
    const order = orders.get(label) ?? orders.set(label, []).get(label);
    if (!order.includes(recordings[i])) order.push(recordings[i]);
  });
  const counts = [...orders.values()].map((order) => order.length);
  if (Math.min(...counts) < 2) return null;
  const folds = Math.min(MOST_FOLDS, Math.max(...counts));
  return labels.map((label, i) => orders.get(label).indexOf(recordings[i]) % folds);
}

/** Return folds that deal out each class's samples one by one, or null where a class has only one. */
function foldsBySample(labels) {
  const seen = new Map();
  const ranks = labels.map((label) => seen.set(label, (seen.get(label) ?? -1) + 1).get(label));
  const folds = Math.min(MOST_FOLDS, 1 + Math.min(...seen.values()));
  return folds < 2 ? null : ranks.map((rank) => rank % folds);
}

/**
 * Predict each sample by a fit of the other folds.
 * @param pause awaited after each fold
 * @param pick returns those of a fold's other samples that are fitted
 * @returns logits for each strength and sample
 */
export async function crossValidate(gram, labels, classes, folds, pause, { strengths = STRENGTHS, pick = (train) => train, tolerance = 1e-4 } = {}) {
  const logits = strengths.map(() => []);
  for (const fold of new Set(folds)) {
    const train = pick(indices(folds, (each) => each !== fold));
    const test = indices(folds, (each) => each === fold);
    const kernel = gram.kernel(train);
    const rows = test.map(kernel.row);
    const own = train.map((at) => labels[at]);
    let start;
    strengths.forEach((strength, s) => {
      start = fit(kernel, own, classes, strength, { start, tolerance });
      test.forEach((at, i) => (logits[s][at] = logitsOf(rows[i], start)));
    });
    await pause();
  }
  return logits;
}

/** Return the strength with the least cross-entropy, and its logits. */
async function chooseStrength(gram, labels, classes, folds, pause) {
  const all = await crossValidate(gram, labels, classes, folds, pause);
  const losses = all.map((logits) => meanLoss(logits, labels));
  const best = losses.indexOf(Math.min(...losses));
  return { strength: STRENGTHS[best], logits: all[best] };
}

/**
 * Measure a lesson.
 * @param data `gram` of the features; of each sample its `labels`, `recordings`; number of `classes`;
 *   `pixels`: the Gram matrix of the raw pixels, where their curve is wanted
 * @param pause awaited between steps; it may throw to end the measuring
 */
export async function measure({ gram, pixels, labels, recordings, classes }, pause) {
  const byRecording = foldsByRecording(labels, recordings);
  const bySample = foldsBySample(labels);
  const folds = byRecording ?? bySample;
  if (!folds) return { strength: FIRST_STRENGTH, temperature: 1 };
  const { strength, logits } = await chooseStrength(gram, labels, classes, folds, pause);
  const temperature = findTemperature(logits, labels);
  const outcomes = logits.map((each, i) => outcomeOf(softmax(each, temperature), labels[i]));
  const right = outcomes.map((each) => each.right);
  const [mixed] = bySample ? await crossValidate(gram, labels, classes, bySample, pause, { strengths: [strength] }) : [];
  const mixedRight = mixed?.map((each, i) => outcomeOf(softmax(each), labels[i]).right);
  const curves = { features: await learningCurve(gram, labels, classes, folds, strength, pause) };
  if (pixels) {
    const chosen = await chooseStrength(pixels, labels, classes, folds, pause);
    curves.pixels = await learningCurve(pixels, labels, classes, folds, chosen.strength, pause);
  }
  return {
    strength,
    temperature,
    outcomes,
    honest: byRecording && share(right, recordings),
    mixed: mixedRight && share(mixedRight, mixedRight.map((_, i) => i)),
    confusion: confusionOf(outcomes, labels, classes),
    curves,
    hardest: outcomes
      .map(({ own }, i) => [own, i])
      .sort(([one], [other]) => one - other)
      .slice(0, HARDEST)
      .map(([, i]) => i),
    threshold: chooseThreshold(outcomes),
  };
}

/** Return what a threshold costs: the share that is answered, and what of it is right. */
export function costOf(outcomes, threshold) {
  const answered = outcomes.filter(({ probability }) => probability >= threshold);
  const right = answered.filter((each) => each.right);
  return { answered: answered.length / outcomes.length, right: answered.length ? right.length / answered.length : 0 };
}

/**
 * Return a share of right answers with Wilson's 95% interval. Samples of one recording are alike, so
 * they count as fewer: by how much the recordings' shares vary, and where all are right as one each.
 */
export function share(right, groups) {
  const count = right.length;
  const accuracy = right.filter(Boolean).length / count;
  const sums = new Map();
  right.forEach((each, i) => sums.set(groups[i], (sums.get(groups[i]) ?? 0) + (each - accuracy)));
  const clusters = sums.size;
  const squares = [...sums.values()].reduce((sum, each) => sum + each * each, 0);
  const variance = (squares / count ** 2) * (clusters / Math.max(1, clusters - 1));
  const worth = variance ? (accuracy * (1 - accuracy)) / variance : clusters;
  const n = Math.min(count, Math.max(1, worth));
  const middle = (accuracy + Z ** 2 / (2 * n)) / (1 + Z ** 2 / n);
  const half = (Z / (1 + Z ** 2 / n)) * Math.sqrt((accuracy * (1 - accuracy)) / n + Z ** 2 / (4 * n * n));
  return { accuracy, low: Math.max(0, middle - half), high: Math.min(1, middle + half), count, groups: clusters };
}

/**
 * Return the temperature with the least cross-entropy (Guo et al. 2017), by golden section. Targets
 * are smoothed (Platt 1999): where all answers are right, the least would be at no temperature.
 */
function findTemperature(logits, labels) {
  const golden = (Math.sqrt(5) - 1) / 2;
  const loss = (log) => meanLoss(logits, labels, Math.exp(log));
  let [low, high] = [Math.log(0.05), Math.log(20)];
  while (high - low > 1e-3) {
    const [one, other] = [high - golden * (high - low), low + golden * (high - low)];
    if (loss(one) < loss(other)) high = other;
    else low = one;
  }
  return Math.exp((low + high) / 2);
}

function meanLoss(logits, labels, temperature = 1) {
  const other = 1 / (logits.length + 2);
  const losses = logits.map((each, i) => {
    const logs = softmax(each, temperature).map((share) => Math.log(Math.max(1e-12, share)));
    const wrong = logs.reduce((sum, log) => sum + log, 0) - logs[labels[i]];
    return -(1 - other) * logs[labels[i]] - (other * wrong) / (logs.length - 1);
  });
  return losses.reduce((sum, each) => sum + each) / losses.length;
}

function outcomeOf(shares, label) {
  const probability = Math.max(...shares);
  const predicted = shares.indexOf(probability);
  return { predicted, probability, right: predicted === label, own: shares[label] };
}

function confusionOf(outcomes, labels, classes) {
  const matrix = Array.from({ length: classes }, () => Array(classes).fill(0));
  outcomes.forEach(({ predicted }, i) => (matrix[labels[i]][predicted] += 1));
  return matrix;
}

/** Return the lowest threshold whose answers reach the target, in hundredths; the highest if none does. */
function chooseThreshold(outcomes) {
  const thresholds = Array.from({ length: 100 }, (_, at) => at / 100);
  return thresholds.find((threshold) => costOf(outcomes, threshold).right >= TARGET_PRECISION) ?? 0.99;
}

/** Return the accuracy with some samples of each class, for growing numbers of them. */
async function learningCurve(gram, labels, classes, folds, strength, pause) {
  const kinds = [...Array(classes).keys()];
  const least = Math.max(...kinds.map((kind) => smallestTrain(labels, folds, kind)));
  const sizes = [...CURVE_SIZES.filter((size) => size < least), least];
  const points = [];
  for (const size of sizes) {
    const pick = (train) => kinds.flatMap((kind) => spread(train.filter((at) => labels[at] === kind), size));
    const [logits] = await crossValidate(gram, labels, classes, folds, pause, { strengths: [strength], pick });
    const right = logits.filter((each, i) => outcomeOf(softmax(each), labels[i]).right);
    points.push({ size, accuracy: right.length / labels.length });
  }
  return points;
}

function smallestTrain(labels, folds, kind) {
  const own = folds.filter((_, i) => labels[i] === kind);
  return Math.min(...[...new Set(folds)].map((fold) => own.filter((each) => each !== fold).length));
}

/** Return some of a list, evenly spread over it. */
function spread(list, count) {
  if (count >= list.length) return list;
  return Array.from({ length: count }, (_, at) => list[Math.floor(((at + 0.5) * list.length) / count)]);
}

const indices = (list, test) => list.flatMap((each, i) => (test(each) ? [i] : []));

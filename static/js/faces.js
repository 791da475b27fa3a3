// What every view of a face shares: its colour, its words, its position and its drawing on a canvas.

import { className, formatProbability, formatShare, text } from "./language.js";

// Dark ink is legible on each of them, over any photo.
const COLOURS = ["#ffcf5c", "#7fe3c8", "#a9c9ff", "#ffb1a3", "#dcbcff", "#cdea72", "#ffb8de", "#90e4f4"];
const INK = "#101715";
const CHIP_LETTERS = 14;
const CHIP_PADDING = 5;
// A screen reader speaks the first few faces; the others are in their cards.
const MOST_ANNOUNCED = 5;

export const colourOf = (index) => COLOURS[index % COLOURS.length];

/** Return a prediction's class, or "unsure". */
export const predictionWord = (prediction) => (prediction.confident ? className(prediction.label) : text("unsure"));

/** Return the words of predictions with their counts, the most frequent first. */
export function countWords(predictions) {
  const groups = Object.entries(Object.groupBy(predictions, predictionWord));
  return groups.map(([word, { length }]) => [word, length]).sort(([, a], [, b]) => b - a);
}

/** Return a prediction's class and probability; an unsure one has no probability to show. */
export const predictionWords = (prediction) =>
  [predictionWord(prediction), predictionProbability(prediction)].filter(Boolean).join(" ");

/** Return a confident prediction's probability; none where its label is held and another class leads. */
export function predictionProbability(prediction) {
  if (!prediction?.confident) return "";
  const leads = prediction.probability >= Math.max(...Object.values(prediction.probabilities));
  return leads ? formatProbability(prediction.probability) : "";
}

/** Return why a prediction is not confident: what hides the face, or how much probability is missing. */
export function whyUnsure(prediction) {
  if (prediction.confident) return "";
  if (prediction.reason) return text(`reasons.${prediction.reason}`);
  const { probability: found, threshold } = prediction;
  if (found >= threshold) return "";
  let [probability, limit] = [found, threshold].map(formatProbability);
  if (probability === limit) {
    [probability, limit] = [Math.floor(1000 * found), Math.ceil(1000 * threshold)].map((each) => formatShare(each / 1000));
  }
  return text("below_limit", { probability, label: className(prediction.label), limit });
}

/** Return a face's name for a screen reader. */
export const faceName = (face, number) =>
  text("box_name", { number, expression: face.expression ? predictionWord(face.expression) : "–" });

/** Return what a screen reader speaks of some faces. */
export const spokenFaces = (faces, numberOf) =>
  faces.slice(0, MOST_ANNOUNCED).map((face, index) => faceName(face, numberOf(face, index))).join(". ");

/** Return a face's number and expression, as its chip shows them. */
export const chipText = (face, number) =>
  [number, face.expression && predictionWords(face.expression)].filter(Boolean).join(" · ");

/** Return the box as fractions of the image's sides, with the roll in degrees. */
export function relativeBox({ box, roll_degrees: roll = 0 }, image) {
  return {
    left: box.x / image.width,
    top: box.y / image.height,
    width: box.width / image.width,
    height: box.height / image.height,
    roll,
  };
}

/** Return how far apart two boxes are, in sides of the larger one, and the factor of their sizes. */
export function compareBoxes(one, other) {
  const larger = Math.max(one.width, other.width);
  const across = one.x + one.width / 2 - other.x - other.width / 2;
  const down = one.y + one.height / 2 - other.y - other.height / 2;
  return { sides: Math.hypot(across, down) / larger, factor: larger / Math.min(one.width, other.width) };
}

/** Return a relative box in the pixels of a picture `across` wide and `down` high. */
export const inPixels = ({ left, top, width, height, roll }, across, down) =>
  ({ left: left * across, top: top * down, width: width * across, height: height * down, roll });

/** Draw a relative box and its chip; `unit` scales lines and letters. */
export function drawFace(context, relative, words, colour, unit, lineWidth = unit) {
  const { width: across, height: down } = context.canvas;
  const box = inPixels(relative, across, down);
  drawBox(context, box, colour, lineWidth);
  const chip = chipSize(context, words, unit);
  const above = box.top - chip.height - 2 * unit;
  const place = {
    left: Math.max(0, Math.min(box.left, across - chip.width)),
    top: above >= 0 ? above : Math.min(box.top + box.height + 2 * unit, down - chip.height),
  };
  drawChip(context, place, words, colour, unit);
}

/** Draw a box in pixels, rotated about its centre. */
export function drawBox(context, { left, top, width, height, roll }, colour, lineWidth) {
  context.save();
  context.translate(left + width / 2, top + height / 2);
  context.rotate((roll * Math.PI) / 180);
  for (const [style, thickness] of [[INK, 5], [colour, 2.5]]) {
    context.strokeStyle = style;
    context.lineWidth = thickness * lineWidth;
    context.strokeRect(-width / 2, -height / 2, width, height);
  }
  context.restore();
}

/** Draw words on a chip whose left upper corner is at a place in pixels. */
export function drawChip(context, { left, top }, words, colour, unit) {
  const { width, height } = chipSize(context, words, unit);
  context.textBaseline = "middle";
  context.fillStyle = INK;
  context.fillRect(left - unit, top - unit, width + 2 * unit, height + 2 * unit);
  context.fillStyle = colour;
  context.fillRect(left, top, width, height);
  context.fillStyle = INK;
  context.fillText(words, left + CHIP_PADDING * unit, top + height / 2);
}

/** Return the width and height of a chip with these words, and set the context's font to its letters. */
export function chipSize(context, words, unit) {
  context.font = `600 ${CHIP_LETTERS * unit}px system-ui, sans-serif`;
  const width = context.measureText(words).width + 2 * CHIP_PADDING * unit;
  return { width, height: (CHIP_LETTERS + 2 * CHIP_PADDING) * unit };
}

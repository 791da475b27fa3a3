// What every view of a face shares: its colour, its words, its position and its drawing on a canvas.

import { className, formatProbability, formatShare, text } from "./language.js";

// Dark ink is legible on each of them, over any photo.
const COLOURS = ["#ffcf5c", "#7fe3c8", "#a9c9ff", "#ffb1a3", "#dcbcff", "#cdea72", "#ffb8de", "#90e4f4"];
const INK = "#101715";
// A screen reader speaks the first few faces; the others are in their cards.
const MOST_ANNOUNCED = 5;

export const colourOf = (index) => COLOURS[index % COLOURS.length];

/** Return a prediction's class, or "unsure". */
export function predictionWord(prediction) {
  return prediction.confident ? className(prediction.label) : text("unsure");
}

/** Return a prediction's class and probability; an unsure one has no probability to show. */
export function predictionWords(prediction) {
  return [predictionWord(prediction), predictionProbability(prediction)].filter(Boolean).join(" ");
}

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
export function faceName(face, number) {
  return text("box_name", { number, expression: face.expression ? predictionWord(face.expression) : "–" });
}

/** Return what a screen reader speaks of some faces. */
export function spokenFaces(faces, numberOf) {
  return faces.slice(0, MOST_ANNOUNCED).map((face, index) => faceName(face, numberOf(face, index))).join(". ");
}

/** Return a face's number and expression, as its chip shows them. */
export function chipText(face, number) {
  return [number, face.expression && predictionWords(face.expression)].filter(Boolean).join(" · ");
}

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

/** Draw a relative box and its chip; `unit` scales lines and letters. */
export function drawFace(context, { left, top, width, height, roll }, words, colour, unit, lineWidth = unit) {
  const canvas = context.canvas;
  const box = { left: left * canvas.width, top: top * canvas.height, width: width * canvas.width, height: height * canvas.height };
  context.save();
  context.translate(box.left + box.width / 2, box.top + box.height / 2);
  context.rotate((roll * Math.PI) / 180);
  for (const [style, thickness] of [[INK, 5], [colour, 2.5]]) {
    context.strokeStyle = style;
    context.lineWidth = thickness * lineWidth;
    context.strokeRect(-box.width / 2, -box.height / 2, box.width, box.height);
  }
  context.restore();
  drawChip(context, box, words, colour, unit);
}

/** Draw words above a box in pixels, or below it where there is no room. */
export function drawChip(context, box, words, colour, unit) {
  const size = 14 * unit;
  const padding = 5 * unit;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const width = context.measureText(words).width + 2 * padding;
  const height = size + 2 * padding;
  const left = Math.max(0, Math.min(box.left, context.canvas.width - width));
  const above = box.top - height - 2 * unit;
  const top = above >= 0 ? above : Math.min(box.top + box.height + 2 * unit, context.canvas.height - height);
  context.fillStyle = INK;
  context.fillRect(left - unit, top - unit, width + 2 * unit, height + 2 * unit);
  context.fillStyle = colour;
  context.fillRect(left, top, width, height);
  context.fillStyle = INK;
  context.fillText(words, left + padding, top + height / 2);
}

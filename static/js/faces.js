// What every drawing of a face shares: its colour, its words, and its place as fractions of the photo.

import { className, formatProbability, text } from "./language.js";

// Light enough that dark ink reads on each of them, over any photo.
const COLOURS = ["#ffcf5c", "#7fe3c8", "#a9c9ff", "#ffb1a3", "#dcbcff", "#cdea72", "#ffb8de", "#90e4f4"];

export const INK = "#101715";

export function colourOf(index) {
  return COLOURS[index % COLOURS.length];
}

/** Name the expression shown: its class, or "unsure". */
export function expressionWord(face) {
  if (!face.expression) return "";
  return face.expression.confident ? className(face.expression.label) : text("unsure");
}

/** Return the probability to print beside the word; an unsure reading has none worth printing. */
export function expressionProbability(face) {
  return face.expression?.confident ? formatProbability(face.expression.probability) : "";
}

/** Return the glyph's name for a face. */
export function glyphOf(face) {
  return face.expression?.confident ? face.expression.label : "unsure";
}

/** Return the words after a face's number in its chip. */
export function chipWords(face) {
  return [expressionWord(face), expressionProbability(face)].filter(Boolean).join(" ");
}

/** Return the box as fractions of the photo's sides, with the turn in degrees. */
export function placeOf(face, image) {
  return {
    left: face.box.x / image.width,
    top: face.box.y / image.height,
    width: face.box.width / image.width,
    height: face.box.height / image.height,
    roll: face.roll_degrees ?? 0,
  };
}

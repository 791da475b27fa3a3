// What a model reads in a whole picture, where no model was asked about faces.

import { className, formatProbability, text } from "./language.js";

const NONE_OF_THESE = "none_of_these";

/** Return the reading of the whole picture, null where faces were looked for. */
export function wholeReading({ models = {}, picture = {} }) {
  const alone = Object.keys(models).every((name) => name in picture);
  return alone ? (Object.values(picture)[0] ?? null) : null;
}

/** Tell whether a reading says that the picture shows none of the classes. */
export function showsNone(reading) {
  return reading.certain && reading.label === NONE_OF_THESE;
}

/** Name what a reading answers: a class, none of these or "unsure". */
export function wholeTitle(reading) {
  if (!reading.certain) return text("unsure");
  return showsNone(reading) ? text("no_garment") : className(reading.label);
}

/** Return the words for a chip: the answer, with its probability unless it is unsure. */
export function wholeWords(reading) {
  return reading.certain ? `${className(reading.label)} ${formatProbability(reading.probability)}` : text("unsure");
}

// Which clothes the whole picture shows, where a model of clothes is alone in answering.

import { className, formatProbability, text } from "./language.js";

const NONE_OF_THESE = "none_of_these";

/** Return the reading of the clothes, null where the page asks other models, or others beside. */
export function wholeReading({ image_predictions: predictions = {} }) {
  const form = document.getElementById("photo-form");
  return predictions[form.dataset.clothing] ?? null;
}

/** Tell whether a reading says that the picture shows none of the classes. */
export function showsNone(reading) {
  return reading.confident && reading.label === NONE_OF_THESE;
}

/** Name what a reading answers: a class, none of these or "unsure". */
export function wholeTitle(reading) {
  if (!reading.confident) return text("unsure");
  return showsNone(reading) ? text("no_garment") : className(reading.label);
}

/** Return the words for a chip: the answer, with its probability unless it is unsure. */
export function wholeWords(reading) {
  return reading.confident ? `${className(reading.label)} ${formatProbability(reading.probability)}` : text("unsure");
}

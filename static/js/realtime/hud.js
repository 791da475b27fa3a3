// The figures over the video: frames analysed per second, delay from camera to box, frames skipped.

import { element } from "../dom.js";
import { formatNumber, formatProbability, text } from "../language.js";

const WINDOW_MS = 2000;
const REFRESH_MS = 250;

let answers = [];
let count = { answered: 0, skipped: 0, droppedByServer: 0 };
let shownAt = 0;

/** Return how many frames were not analysed: skipped here during another, or dropped by the server. */
export const dropped = () => count.skipped + count.droppedByServer;

export const skip = () => (count.skipped += 1);

/** Count an answer; `droppedByServer` is the server's count for this connection. */
export function answered(delay, droppedByServer, now = performance.now()) {
  Object.assign(count, { droppedByServer, answered: count.answered + 1 });
  answers = [...answers, { at: now, delay }].filter(({ at }) => now - at <= WINDOW_MS);
  if (now - shownAt < REFRESH_MS) return;
  shownAt = now;
  show();
}

/** Show that nothing is being measured. */
export function rest() {
  answers = [];
  show();
}

export function reset() {
  count = { answered: 0, skipped: 0, droppedByServer: 0 };
  rest();
}

function show() {
  const span = answers.length > 1 ? answers.at(-1).at - answers[0].at : 0;
  const delay = answers.reduce((sum, each) => sum + each.delay, 0) / answers.length;
  element("rate").textContent = span ? formatNumber(((answers.length - 1) * 1000) / span) : "–";
  element("delay").textContent = answers.length ? text("milliseconds", { count: formatNumber(Math.round(delay)) }) : "–";
  element("skipped").textContent = dropped() ? formatProbability(dropped() / (dropped() + count.answered)) : "–";
}

// What is always shown: frames analysed per second, delay from camera to box, frames dropped.

import { formatNumber, text } from "../language.js";

const WINDOW_MS = 2000;
const REFRESH_MS = 250;

export class Hud {
  #rate;
  #delay;
  #dropped;
  #answers = [];
  #skipped = 0;
  #refused = 0;
  #shownAt = 0;

  constructor(rate, delay, dropped) {
    this.#rate = rate;
    this.#delay = delay;
    this.#dropped = dropped;
  }

  /** Frames that were not analysed: skipped here while one was under way, or dropped by the server. */
  get dropped() {
    return this.#skipped + this.#refused;
  }

  skip() {
    this.#skipped += 1;
  }

  /** Count an answer; `dropped` is the server's own count for this connection. */
  answered(delay, dropped, now = performance.now()) {
    this.#refused = dropped;
    this.#answers.push({ at: now, delay });
    this.#answers = this.#answers.filter(({ at }) => now - at <= WINDOW_MS);
    if (now - this.#shownAt < REFRESH_MS) return;
    this.#shownAt = now;
    this.#show();
  }

  /** Show that nothing is measured at present. */
  rest() {
    this.#answers = [];
    this.#show();
  }

  reset() {
    this.#skipped = 0;
    this.#refused = 0;
    this.rest();
  }

  #show() {
    const count = this.#answers.length;
    const span = count > 1 ? this.#answers[count - 1].at - this.#answers[0].at : 0;
    const delay = this.#answers.reduce((sum, each) => sum + each.delay, 0) / count;
    this.#rate.textContent = span ? formatNumber(((count - 1) * 1000) / span) : "–";
    this.#delay.textContent = count ? text("milliseconds", { count: formatNumber(Math.round(delay)) }) : "–";
    this.#dropped.textContent = formatNumber(this.dropped);
  }
}

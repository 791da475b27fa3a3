// The figures over the video: frames analysed per second, delay from camera to box, frames skipped.

import { element } from "../dom.js";
import { formatNumber, formatProbability, text } from "../language.js";

const WINDOW_MS = 2000;
const REFRESH_MS = 250;

export class Hud {
  #answers = [];
  #answered = 0;
  #skipped = 0;
  #droppedByServer = 0;
  #shownAt = 0;

  /** Frames that were not analysed: skipped here during another, or dropped by the server. */
  get dropped() {
    return this.#skipped + this.#droppedByServer;
  }

  skip() {
    this.#skipped += 1;
  }

  /** Count an answer; `dropped` is the server's count for this connection. */
  answered(delay, dropped, now = performance.now()) {
    this.#droppedByServer = dropped;
    this.#answered += 1;
    this.#answers.push({ at: now, delay });
    this.#answers = this.#answers.filter(({ at }) => now - at <= WINDOW_MS);
    if (now - this.#shownAt < REFRESH_MS) return;
    this.#shownAt = now;
    this.#show();
  }

  /** Show that nothing is being measured. */
  rest() {
    this.#answers = [];
    this.#show();
  }

  reset() {
    this.#answered = 0;
    this.#skipped = 0;
    this.#droppedByServer = 0;
    this.rest();
  }

  #show() {
    const count = this.#answers.length;
    const span = count > 1 ? this.#answers.at(-1).at - this.#answers[0].at : 0;
    const delay = this.#answers.reduce((sum, each) => sum + each.delay, 0) / count;
    element("rate").textContent = span ? formatNumber(((count - 1) * 1000) / span) : "–";
    element("delay").textContent = count ? text("milliseconds", { count: formatNumber(Math.round(delay)) }) : "–";
    const share = this.dropped / (this.dropped + this.#answered);
    element("skipped").textContent = this.dropped ? formatProbability(share) : "–";
  }
}

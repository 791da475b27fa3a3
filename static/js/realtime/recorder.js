// The panel of recordings: one may run, the others are listed, saved, or deleted with an undo.

import { clone, element, write } from "../dom.js";
import { formatNumber, formatTime, text } from "../language.js";
import { Recording } from "./recording.js";

// About two hours of one face, or 100 MB in the browser, over all recordings.
const MOST_READINGS = 200_000;
const REFRESH_MS = 250;

let nextId = 1;

export class Recorder {
  #recordings = new Set();
  #current = null;
  #deleted = null;
  #describe;
  #timer = 0;

  /** @param describe called at a recording's end for the models and settings used */
  constructor(describe) {
    this.#describe = describe;
    element("record").addEventListener("click", () => (this.#current ? this.stop() : this.#start()));
    element("mark").addEventListener("click", () => this.mark());
    window.addEventListener("beforeunload", (event) => {
      if ([...this.#recordings].some(({ count, saved }) => count && !saved)) event.preventDefault();
    });
  }

  stop() {
    if (!this.#current) return;
    clearInterval(this.#timer);
    this.#current.stop(this.#describe());
    if (this.#current.count || this.#current.marks.length) this.#list(this.#current);
    else this.#recordings.delete(this.#current);
    this.#current = null;
    this.#show();
  }

  add(answer, delay) {
    if (!this.#current) return;
    const left = MOST_READINGS - [...this.#recordings].reduce((sum, { count }) => sum + count, 0);
    this.#current.add(answer, delay, left);
    if (left <= answer.faces.length) this.stop();
  }

  /** Mark this moment with the word of the panel's field. */
  mark() {
    if (!this.#current) return;
    this.#current.mark(element("mark-word").value.trim() || text("mark"));
    this.#show();
  }

  #start() {
    this.#current = new Recording();
    this.#recordings.add(this.#current);
    this.#timer = setInterval(() => this.#show(), REFRESH_MS);
    this.#show();
  }

  #show() {
    const running = this.#current !== null;
    document.body.toggleAttribute("data-recording", running);
    element("record").textContent = text(running ? "stop_recording" : "start_recording");
    element("marking").hidden = !running;
    element("recorded").textContent = running ? describe(this.#current) : "";
  }

  #list(recording) {
    const item = clone("recording");
    const words = item.querySelector("p");
    const [saving, undo] = item.querySelectorAll("div");
    const show = () => {
      const deleted = !this.#recordings.has(recording);
      write(words, [deleted ? text("deleted") : "", formatTime(recording.started), describe(recording)].filter(Boolean).join(" · "));
      saving.hidden = deleted;
      undo.hidden = !deleted;
    };
    const actions = {
      csv: () => recording.saveCsv(),
      json: () => recording.saveJson(),
      delete: () => {
        this.#deleted?.remove();
        this.#deleted = item;
        this.#recordings.delete(recording);
        show();
        undo.querySelector("button").focus();
      },
      undo: () => {
        this.#deleted = null;
        this.#recordings.add(recording);
        show();
        saving.querySelector("button").focus();
      },
    };
    words.id = `recording-${nextId++}`;
    for (const button of item.querySelectorAll("button")) {
      button.setAttribute("aria-describedby", words.id);
      button.addEventListener("click", actions[button.value]);
    }
    show();
    element("recordings").prepend(item);
  }
}

function describe({ seconds, count, marks }) {
  const whole = Math.floor(seconds);
  const values = {
    minutes: formatNumber(Math.floor(whole / 60)),
    seconds: String(whole % 60).padStart(2, "0"),
    count: formatNumber(count),
    marks: formatNumber(marks.length),
  };
  return text(marks.length ? "recorded_marks" : "recorded", values);
}

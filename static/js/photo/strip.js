// The strip of thumbnails: a button for each photo, with counts, progress and time left.

import { element, make, markCurrent } from "../dom.js";
import { facesFound, formatNumber, text } from "../language.js";

const HEIGHT = 72;
const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

export class Strip {
  #queue;
  #onOpen;
  #list = element("thumbnails");
  #buttons = new Map();
  #drawing = Promise.resolve();

  /** @param onOpen called with the entry that the visitor goes to */
  constructor(queue, onOpen) {
    this.#queue = queue;
    this.#onOpen = onOpen;
    document.addEventListener("keydown", (event) => this.#move(event));
  }

  add(entries) {
    for (const entry of entries) {
      const button = make("button", { type: "button", className: "thumbnail", tabIndex: -1 }, make("span", { className: "thumbnail-mark", ariaHidden: "true" }));
      button.addEventListener("click", () => this.#onOpen(entry));
      this.#buttons.set(entry, button);
      this.#list.append(make("li", {}, button));
      this.#mark(entry);
      // One after the other, outside the page's own thread: 300 photos leave it free.
      this.#drawing = this.#drawing.then(() => this.#buttons.has(entry) && draw(entry.photo, button));
    }
    this.#showProgress();
  }

  clear() {
    this.#buttons.clear();
    this.#list.replaceChildren();
    element("strip").hidden = true;
  }

  select(entry) {
    const buttons = [...this.#buttons.values()];
    const chosen = this.#buttons.get(entry);
    markCurrent(buttons, buttons.indexOf(chosen));
    for (const button of buttons) button.tabIndex = button === chosen ? 0 : -1;
    if (this.#list.contains(document.activeElement)) chosen.focus();
    this.#list.scrollTo({ left: chosen.offsetLeft - (this.#list.clientWidth - chosen.offsetWidth) / 2 });
  }

  /** Show the state of an entry and of the whole queue. */
  update(entry) {
    if (!this.#buttons.has(entry)) return;
    this.#mark(entry);
    this.#showProgress();
  }

  #mark(entry) {
    const button = this.#buttons.get(entry);
    const { state, analysis } = entry;
    const told = state === "done" ? facesFound(analysis.faces.length) : text(`states.${state}`);
    button.dataset.state = state;
    button.ariaLabel = text("thumbnail", { name: entry.name || text("pasted"), state: told });
    button.title = entry.name;
    button.lastElementChild.textContent = state === "done" ? formatNumber(analysis.faces.length) : state === "failed" ? "!" : "";
  }

  get #several() {
    return this.#queue.entries.length > 1;
  }

  #showProgress() {
    const { entries, waiting, done, failed, retryable, secondsLeft, stopped } = this.#queue;
    element("strip").hidden = !this.#several;
    Object.assign(element("strip-progress"), { max: entries.length, value: entries.length - waiting });
    element("strip-status").textContent = [
      text("read_of", { done: formatNumber(done.length), count: formatNumber(entries.length) }),
      failed.length && text("failed", { count: formatNumber(failed.length) }),
      !stopped && secondsLeft !== null && timeLeft(secondsLeft),
    ].filter(Boolean).join(" · ");
    element("stop").hidden = stopped || !waiting;
    element("continue").hidden = !stopped || !waiting;
    element("retry-failed").hidden = !retryable.length;
    element("all-downloads").hidden = !done.length;
  }

  #move(event) {
    const step = STEPS[event.key];
    const elsewhere = event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea, dialog");
    if (!step || elsewhere || !this.#several || element("strip").hidden) return;
    const entries = [...this.#buttons.keys()];
    const at = entries.findIndex((entry) => this.#buttons.get(entry).hasAttribute("aria-current"));
    const next = entries[at + step];
    if (!next) return;
    event.preventDefault();
    this.#onOpen(next);
  }
}

function timeLeft(seconds) {
  return seconds < 90
    ? text("seconds_left", { count: formatNumber(Math.ceil(seconds)) })
    : text("minutes_left", { count: formatNumber(Math.ceil(seconds / 60)) });
}

async function draw(photo, button) {
  const height = HEIGHT * Math.min(2, window.devicePixelRatio);
  try {
    const bitmap = await createImageBitmap(photo, { resizeHeight: height, resizeQuality: "medium" });
    const canvas = make("canvas", { width: bitmap.width, height: bitmap.height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    button.prepend(canvas);
  } catch {
    button.prepend(make("span", { className: "thumbnail-name" }, photo.name));
  }
}

// The strip of thumbnails: a button for each photo, with counts, progress and time left.

import { element, make, markCurrent } from "../dom.js";
import { facesFound, formatNumber, text } from "../language.js";

const HEIGHT = 72;
const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

const list = element("thumbnails");
const buttons = new Map(); // by their entries
let drawing = Promise.resolve();

/** Add thumbnails; `onOpen` is called with the entry that the visitor goes to. */
export function add(entries, queue, onOpen) {
  for (const entry of entries) {
    const button = make("button", { type: "button", className: "thumbnail", tabIndex: -1 }, make("span", { className: "thumbnail-mark", ariaHidden: "true" }));
    button.addEventListener("click", () => onOpen(entry));
    buttons.set(entry, button);
    list.append(make("li", {}, button));
    mark(entry);
    // One after the other, outside the page's own thread: 300 photos leave it free.
    drawing = drawing.then(() => buttons.has(entry) && draw(entry.photo, button));
  }
  showProgress(queue);
}

export function clear() {
  buttons.clear();
  list.replaceChildren();
  element("strip").hidden = true;
}

export function select(entry) {
  const all = [...buttons.values()];
  const chosen = buttons.get(entry);
  markCurrent(all, all.indexOf(chosen));
  for (const button of all) button.tabIndex = button === chosen ? 0 : -1;
  if (list.contains(document.activeElement)) chosen.focus();
  list.scrollTo({ left: chosen.offsetLeft - (list.clientWidth - chosen.offsetWidth) / 2 });
}

/** Show the state of an entry and of the whole queue. */
export function update(entry, queue) {
  if (!buttons.has(entry)) return;
  mark(entry);
  showProgress(queue);
}

function mark(entry) {
  const button = buttons.get(entry);
  const { state, analysis } = entry;
  const told = state === "done" ? facesFound(analysis.faces.length) : text(`states.${state}`);
  button.dataset.state = state;
  button.ariaLabel = text("thumbnail", { name: entry.name || text("pasted"), state: told });
  button.title = entry.name;
  button.lastElementChild.textContent = state === "done" ? formatNumber(analysis.faces.length) : state === "failed" ? "!" : "";
}

function showProgress({ entries, waiting, done, failed, retryable, secondsLeft, stopped }) {
  element("strip").hidden = entries.length < 2;
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

document.addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  const elsewhere = event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea, dialog");
  if (!step || elsewhere || element("strip").hidden) return;
  const all = [...buttons.values()];
  const next = all[all.findIndex((button) => button.hasAttribute("aria-current")) + step];
  if (!next) return;
  event.preventDefault();
  next.click();
});

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

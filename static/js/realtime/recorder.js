// The panel of recordings: one may run, the others are listed, saved, or deleted with an undo.

import { clone, element, write } from "../dom.js";
import { formatNumber, formatTime, text } from "../language.js";
import { Recording } from "./recording.js";

// About two hours of one face, or 100 MB in the browser, over all recordings.
const MOST_READINGS = 200_000;
const REFRESH_MS = 250;

const recordings = new Set();
let current = null;
let deletedItem = null;
let nextId = 1;
let timer = 0;

element("mark").addEventListener("click", mark);
const unsaved = () => [...recordings].some(({ count, saved }) => count && !saved);
window.addEventListener("beforeunload", (event) => unsaved() && event.preventDefault());

/** @param about called at a recording's end for the models and settings used */
export function wireRecorder(about) {
  element("record").addEventListener("click", () => (current ? stop() : start(about)));
}

export function stop() {
  if (!current) return;
  clearInterval(timer);
  current.stop();
  if (current.count || current.marks.length) list(current);
  else recordings.delete(current);
  current = null;
  show();
}

export function add(answer, delay) {
  if (!current) return;
  const left = MOST_READINGS - [...recordings].reduce((sum, { count }) => sum + count, 0);
  current.add(answer, delay, left);
  if (left <= answer.faces.length) stop();
}

/** Mark this moment with the word of the panel's field. */
export function mark() {
  if (!current) return;
  current.mark(element("mark-word").value.trim() || text("mark"));
  show();
}

function start(about) {
  current = new Recording(about);
  recordings.add(current);
  timer = setInterval(show, REFRESH_MS);
  show();
}

function show() {
  document.body.toggleAttribute("data-recording", current !== null);
  element("record").textContent = text(current ? "stop_recording" : "start_recording");
  element("marking").hidden = !current;
  element("recorded").textContent = current ? describe(current) : "";
}

function list(recording) {
  const item = clone("recording");
  const words = item.querySelector("p");
  const [saving, undo] = item.querySelectorAll("div");
  const showItem = () => {
    const deleted = !recordings.has(recording);
    write(words, [deleted ? text("deleted") : "", formatTime(recording.started), describe(recording)].filter(Boolean).join(" · "));
    saving.hidden = deleted;
    undo.hidden = !deleted;
    // A new item isn't in the page yet, and leaves the focus where it is.
    (deleted ? undo : saving).querySelector("button").focus();
  };
  const actions = {
    csv: () => recording.saveCsv(),
    json: () => recording.saveJson(),
    delete: () => {
      deletedItem?.remove();
      deletedItem = item;
      recordings.delete(recording);
      showItem();
    },
    undo: () => {
      deletedItem = null;
      recordings.add(recording);
      showItem();
    },
  };
  words.id = `recording-${nextId++}`;
  for (const button of item.querySelectorAll("button")) {
    button.setAttribute("aria-describedby", words.id);
    button.addEventListener("click", actions[button.value]);
  }
  showItem();
  element("recordings").prepend(item);
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

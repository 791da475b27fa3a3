// The photo page: takes photos, has them read, and shows the answer about one of them.

import { element } from "../dom.js";
import { formatNumber, text } from "../language.js";
import { Service } from "../service.js";
import { clothingPrediction } from "./clothing.js";
import { downloadAllJson, downloadCsv, downloadJson, downloadPicture, downloadZip } from "./downloads.js";
import { wireFileInput } from "./file-input.js";
import { keepAcrossPages } from "./keeping.js";
import * as outcome from "./outcome.js";
import { PhotoQueue } from "./queue.js";
import { enlarge, shrink } from "./shrink.js";
import { openSteps } from "./steps-link.js";
import * as strip from "./strip.js";

// Fields of a request that searches faces of every rotation and size, which takes ten times as long.
const THOROUGH = [["effort", "thorough"]];
const BYTES_IN_MB = 1_000_000;
const THIS_COMPUTER = new Set(["localhost", "127.0.0.1", "[::1]"]);

const form = element("photo-form");
const original = element("send-original");
// The visitor's choice of models, as the server wrote it into the form.
const choice = [...form.querySelectorAll("input[type=hidden]")].map(({ name, value }) => [name, value]);
const limitMb = Number(form.dataset.limitMb);
const service = new Service(form.dataset.service, limitMb, choice);
const queue = new PhotoQueue(request, changed);

// The entry whose photo is on the page.
let current = null;

// A smaller copy saves no time where nothing is sent over a line.
original.checked = THIS_COMPUTER.has(location.hostname);
wireFileInput((photos) => take(queue.add(photos)), note);
const actions = {
  another: () => (queue.entries.length < 2 || confirm(text("leave_all"))) && startAgain(),
  cancel: () => (queue.entries.length > 1 ? queue.stop() : startAgain(text("cancelled"))),
  stop: () => queue.stop(),
  continue: () => queue.resume(),
  retry: () => queue.repeat([current]),
  "retry-failed": () => queue.repeat(queue.retryable),
  thorough: () => queue.repeat([current], THOROUGH),
  "download-json": () => downloadJson(current.answerText, baseName()),
  "download-csv": () => downloadCsv([current], baseName()),
  "download-picture": () => downloadPicture(current, baseName()),
  "all-json": () => downloadAllJson(answered()),
  "all-csv": () => downloadCsv(answered(), "photos"),
  "all-zip": saveAllPictures,
};
for (const [id, action] of Object.entries(actions)) element(id).addEventListener("click", action);
element("cards").addEventListener("click", ({ target }) => {
  const button = target.closest(".show-steps");
  if (button) openSteps(current.photo, button.value);
});
const keep = keepAcrossPages(pack, unpack);
// Many photos are not read again in a moment.
window.addEventListener("beforeunload", (event) => queue.entries.length > 1 && !keep() && event.preventDefault());

function take(entries, at = 0) {
  strip.add(entries, queue, open);
  open(entries[at]);
  queue.resume();
  keep();
}

function pack() {
  return current && { asked: JSON.stringify(choice), entries: queue.pack(), at: queue.entries.indexOf(current) };
}

function unpack({ asked, entries, at }) {
  // The page's tab for clothing reads the same photos again, with other models.
  if (!current) take(queue.unpack(entries, asked === JSON.stringify(choice)), at);
}

async function request(entry, signal) {
  const { effort } = Object.fromEntries([["effort", form.dataset.effort], ...choice, ...entry.fields]);
  const { sent, size } = await shrink(entry.photo, { effort, limitBytes: limitMb * BYTES_IN_MB, original: original.checked });
  const answer = await service.analyze(sent, signal, entry.fields, (share) => {
    entry.sent = share;
    if (entry === current) outcome.showSent(entry);
  });
  if (!size) return { ...answer, size: null };
  const analysis = enlarge(answer.analysis, size);
  return { analysis, answerText: JSON.stringify(analysis), size, sentSize: answer.analysis.image };
}

function open(entry) {
  current = entry;
  queue.preferred = entry;
  element("file-input").hidden = true;
  element("file-input-note").textContent = "";
  outcome.showPhoto(entry);
  strip.select(entry);
  show(entry);
}

function changed(entry) {
  strip.update(entry, queue);
  if (entry === current) show(entry);
}

async function show(entry) {
  const { state } = entry;
  const isCurrent = () => current === entry && entry.state === state;
  if (state === "done") {
    await outcome.showAnalysis(entry, isCurrent);
    if (!isCurrent()) return;
    element("thorough").hidden =
      clothingPrediction(entry.analysis) !== null || entry.fields.length > 0;
  } else if (state === "failed") {
    await outcome.showProblem(entry, isCurrent);
    if (isCurrent()) element("retry").hidden = !queue.retryable.includes(entry);
  } else {
    outcome.showWorking(entry, queue.stopped);
    outcome.showSent(entry);
  }
}

function startAgain(sentence = "") {
  current = null;
  queue.clear();
  strip.clear();
  outcome.clearOutcome();
  element("outcome-view").hidden = true;
  element("file-input").hidden = false;
  note(sentence);
  element("choose").focus();
}

// A remark that changes nothing else on the page.
function note(sentence) {
  if (current) outcome.photoNote(sentence);
  else element("file-input-note").textContent = sentence;
  element("announcement").textContent = sentence;
}

const answered = () => queue.entries.filter(({ state }) => state === "done" || state === "failed");

async function saveAllPictures({ currentTarget: button }) {
  button.disabled = true;
  const entries = queue.done;
  const count = formatNumber(entries.length);
  await downloadZip(entries, (done) => {
    element("all-note").textContent = text("marking", { done: formatNumber(done), count });
  });
  element("all-note").textContent = "";
  button.disabled = false;
}

const baseName = () => (current.photo.name || text("pasted")).replace(/\.[^.]+$/, "");

// The photo page: takes a photo in, shows its reading, and lets no older answer cover a newer photo.

import { Cards } from "./cards.js";
import { downloadCsv, downloadJson, downloadPng } from "./downloads.js";
import { expressionWord } from "./faces.js";
import { receivePhotos } from "./file-input.js";
import { facesFound, formatMilliseconds, formatProbability, refusalSentence, stepName, taskName, text } from "./language.js";
import { Overlay } from "./overlay.js";
import { Refused, Service } from "./service.js";
import { showsNone, wholeReading, wholeTitle } from "./clothing.js";

// A listener hears the first few; the rest are in the cards.
const MOST_ANNOUNCED = 5;

// With these, the same photo may well be answered the next time.
const WORTH_RETRYING = new Set(["network", "request_slow", "busy", "rate_limited", "inference_unavailable", "internal"]);

// What a request says that looks for faces of all turns and sizes, which takes ten times as long.
const THOROUGHLY = [["effort", "thorough"]];

const element = (id) => document.getElementById(id);
const form = element("photo-form");
const picture = element("picture");
// The visitor's choice of models, as the server wrote it into the form.
const choice = [...form.querySelectorAll("input[type=hidden]")].map(({ name, value }) => [name, value]);
const service = new Service(form.dataset.service, Number(form.dataset.limitMb), choice);
const overlay = new Overlay(element("overlay"), (index) => selectFromPhoto(index));
const cards = new Cards(element("cards"), (index) => select(index), (index) => overlay.focus(index));

// The photo on show, the request that reads it and the answer to it: replaced together, never mixed.
let current = null;

receivePhotos(read, (sentence) => note(sentence));
element("another").addEventListener("click", () => startAgain());
element("cancel").addEventListener("click", () => startAgain(text("cancelled")));
element("retry").addEventListener("click", () => read(current.photo, "", current.fields));
element("harder").addEventListener("click", () => read(current.photo, "", THOROUGHLY));
element("download-json").addEventListener("click", () => downloadJson(current.answerText, baseName()));
element("download-csv").addEventListener("click", () => downloadCsv(current.analysis, baseName()));
element("download-png").addEventListener("click", () => downloadPng(picture, current.analysis, baseName()));

async function read(photo, remark = "", fields = []) {
  forget();
  const reading = { photo, fields, abort: new AbortController() };
  current = reading;
  showWorking(photo, remark);
  const [outcome, shown] = await Promise.all([answerFor(reading), showPicture(photo)]);
  if (current !== reading) return;
  if (outcome.problem) return showProblem(outcome.problem, shown);
  Object.assign(reading, outcome);
  showAnalysis(outcome.analysis, shown);
  element("harder").hidden =
    outcome.analysis.faces.length > 0 || wholeReading(outcome.analysis) !== null || fields === THOROUGHLY;
}

async function answerFor({ photo, fields, abort }) {
  try {
    return await service.analyze(photo, abort.signal, fields);
  } catch (error) {
    if (error instanceof Refused) return { problem: error.problem };
    if (error.name === "AbortError") return { problem: { code: "aborted" } };
    throw error;
  }
}

async function showPicture(photo) {
  const address = URL.createObjectURL(photo);
  picture.src = address;
  try {
    await picture.decode();
  } catch {
    return false;
  }
  if (picture.src !== address) return false;
  element("photo").style.setProperty("--ratio", String(picture.naturalWidth / picture.naturalHeight));
  element("photo").hidden = false;
  return true;
}

function showWorking(photo, remark) {
  element("file-input").hidden = true;
  element("outcome-view").hidden = false;
  element("outcome-view").dataset.state = "working";
  element("photo-name").textContent = [photo.name || text("pasted"), remark].filter(Boolean).join(" · ");
  picture.alt = text("photo_of", { name: photo.name || text("pasted") });
  element("progress").hidden = false;
  element("cancel").hidden = false;
  element("another").hidden = true;
  headline(text("reading"));
}

function showAnalysis(analysis, pictureShown) {
  const count = analysis.faces.length;
  const whole = wholeReading(analysis);
  if (whole) sayWhole(whole);
  else sayFaces(analysis.faces);
  if (!pictureShown) photoNote(text("photo_not_shown"));
  overlay.draw(analysis.faces, analysis.image);
  cards.draw(analysis);
  if (count) select(0);
  showHow(analysis);
  element("download-png").hidden = !pictureShown || !(count || whole);
  element("download-csv").hidden = !count && !analysis.image_predictions;
  element("take-away").hidden = false;
}

function sayFaces(faces) {
  const count = faces.length;
  settle(count ? "faces" : "no-face");
  headline(count ? facesFound(count) : text("no_face"), spokenSummary(faces));
  if (!count) message(text("no_face_help"));
}

function sayWhole(reading) {
  settle("whole");
  headline(wholeTitle(reading), reading.confident ? formatProbability(reading.probability) : "");
  if (showsNone(reading)) message(text("no_garment_help"));
}

function showProblem(problem, pictureShown) {
  settle("problem");
  const sentence = refusalSentence(problem);
  headline(text("no_answer"), sentence);
  message(sentence, problem.request_id);
  element("photo").hidden = !pictureShown;
  element("retry").hidden = !WORTH_RETRYING.has(problem.code);
}

function settle(state) {
  element("outcome-view").dataset.state = state;
  element("progress").hidden = true;
  element("cancel").hidden = true;
  element("another").hidden = false;
}

function startAgain(sentence = "") {
  forget();
  element("outcome-view").hidden = true;
  element("file-input").hidden = false;
  note(sentence);
  element("choose").focus();
}

// Stops the request under way and clears what the last photo left on the page.
function forget() {
  current?.abort.abort();
  current = null;
  overlay.clear();
  cards.clear();
  if (picture.src) URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
  for (const id of ["photo", "photo-note", "message", "message-reference", "retry", "harder", "take-away"]) {
    element(id).hidden = true;
  }
  element("file-input-note").textContent = "";
}

function select(index) {
  overlay.select(index);
  cards.select(index);
}

function selectFromPhoto(index) {
  select(index);
  cards.reveal(index);
}

function headline(title, spoken = "") {
  element("outcome-title").textContent = title;
  element("outcome-title").focus({ preventScroll: true });
  element("announcement").textContent = [title, spoken].filter(Boolean).join(". ");
}

function spokenSummary(faces) {
  return faces
    .slice(0, MOST_ANNOUNCED)
    .map((face, index) => text("box_name", { number: index + 1, expression: expressionWord(face) || "–" }))
    .join(". ");
}

function message(sentence, reference = "") {
  element("message-text").textContent = sentence;
  element("message").hidden = false;
  element("message-reference").hidden = !reference;
  element("message-reference").querySelector("code").textContent = reference;
}

// A remark that leaves the page as it is, said where the reader is looking.
function note(sentence) {
  if (current) photoNote(sentence);
  else element("file-input-note").textContent = sentence;
  element("announcement").textContent = sentence;
}

function photoNote(sentence) {
  element("photo-note").textContent = sentence;
  element("photo-note").hidden = false;
}

function showHow({ timings_ms: timings = {}, models = {} }) {
  element("timings").replaceChildren(
    ...Object.entries(timings).map(([name, value]) => timingRow(stepName(name), formatMilliseconds(value))),
  );
  element("models").replaceChildren(...Object.entries(models).map(([name, hash]) => modelItem(name, hash)));
}

function timingRow(name, value) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  row.append(head);
  row.insertCell().textContent = value;
  return row;
}

function modelItem(name, hash) {
  const item = document.createElement("li");
  const code = document.createElement("code");
  code.textContent = hash;
  item.append(taskName(name), " ", code);
  return item;
}

function baseName() {
  return (current.photo.name || text("pasted")).replace(/\.[^.]+$/, "");
}

// The photo page: takes a photo, shows its readings, and lets no older answer cover a newer photo.

import { element, make } from "../dom.js";
import { spokenFaces } from "../faces.js";
import { facesFound, formatMilliseconds, formatProbability, problemSentence, stepName, taskName, text } from "../language.js";
import { Service, ServiceError } from "../service.js";
import { Cards } from "./cards.js";
import { clothingPrediction, clothingTitle, showsNone } from "./clothing.js";
import { downloadCsv, downloadJson, downloadPng } from "./downloads.js";
import { wireFileInput } from "./file-input.js";
import { Overlay } from "./overlay.js";

// After these, the same photo may be answered on another try.
const RETRYABLE = new Set(["network", "request_slow", "busy", "rate_limited", "inference_unavailable", "internal"]);

// How often a photo is sent to a busy server that says when to try again.
const MOST_ATTEMPTS = 5;

// Fields of a request that searches faces of every rotation and size, which takes ten times as long.
const THOROUGH = [["effort", "thorough"]];

const form = element("photo-form");
const picture = element("picture");
// The visitor's choice of models, as the server wrote it into the form.
const choice = [...form.querySelectorAll("input[type=hidden]")].map(({ name, value }) => [name, value]);
const service = new Service(form.dataset.service, Number(form.dataset.limitMb), choice);
const overlay = new Overlay(element("overlay"), (index) => {
  select(index);
  cards.reveal(index);
});
const cards = new Cards(element("cards"), select, (index) => overlay.focus(index));

// The photo shown, the request that reads it and the answer to it: replaced together, never mixed.
let current = null;

wireFileInput(read, note);
const actions = {
  another: () => startAgain(),
  cancel: () => startAgain(text("cancelled")),
  retry: () => read(current.photo, "", current.fields),
  thorough: () => read(current.photo, "", THOROUGH),
  "download-json": () => downloadJson(current.answerText, baseName()),
  "download-csv": () => downloadCsv(current.analysis, baseName()),
  "download-png": () => downloadPng(picture, current.analysis, baseName()),
};
for (const [id, action] of Object.entries(actions)) element(id).addEventListener("click", action);

async function read(photo, remark = "", fields = []) {
  reset();
  const reading = { photo, fields, abort: new AbortController() };
  current = reading;
  showWorking(photo, remark);
  const [answer, shown] = await Promise.all([request(reading), showPicture(photo)]);
  if (current !== reading) return;
  if (answer.problem) return showProblem(answer.problem, shown);
  Object.assign(reading, answer);
  showAnalysis(answer.analysis, shown);
  element("thorough").hidden =
    answer.analysis.faces.length > 0 || clothingPrediction(answer.analysis) !== null || fields === THOROUGH;
}

async function request({ photo, fields, abort }) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await service.analyze(photo, abort.signal, fields);
    } catch (error) {
      if (error.name === "AbortError") return { problem: { code: "aborted" } };
      if (!(error instanceof ServiceError)) throw error;
      const { code, retry_after: seconds } = error.problem;
      if (code !== "busy" || !seconds || attempt === MOST_ATTEMPTS) return { problem: error.problem };
      headline(text("busy_waiting"));
      // Longer by chance, or all who were refused together would come back together.
      await new Promise((resume) => setTimeout(resume, 1000 * seconds * (1 + Math.random())));
    }
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
  const name = photo.name || text("pasted");
  element("file-input").hidden = true;
  element("outcome-view").hidden = false;
  element("photo-name").textContent = [name, remark].filter(Boolean).join(" · ");
  picture.alt = text("photo_of", { name });
  setState("working");
  headline(text("reading"));
}

function showAnalysis(analysis, pictureShown) {
  const { faces, image, image_predictions: predictions } = analysis;
  const clothing = clothingPrediction(analysis);
  if (clothing) sayClothing(clothing);
  else sayFaces(faces);
  const notes = [!image.complete && text("photo_incomplete"), !pictureShown && text("photo_not_shown")].filter(Boolean);
  if (notes.length) photoNote(notes.join(" "));
  overlay.show(faces, image);
  cards.show(analysis);
  if (faces.length) select(0);
  showDetails(analysis);
  element("download-png").hidden = !pictureShown || !(faces.length || clothing);
  element("download-csv").hidden = !faces.length && !predictions;
  element("downloads").hidden = false;
}

function sayFaces(faces) {
  setState(faces.length ? "faces" : "no-face");
  headline(faces.length ? facesFound(faces.length) : text("no_face"), spokenFaces(faces, (_, index) => index + 1));
  if (!faces.length) message(text("no_face_help"));
}

function sayClothing(prediction) {
  setState("clothing");
  headline(clothingTitle(prediction), prediction.confident ? formatProbability(prediction.probability) : "");
  if (showsNone(prediction)) message(text("no_garment_help"));
}

function showProblem(problem, pictureShown) {
  setState("problem");
  const sentence = problemSentence(problem);
  headline(text("no_answer"), sentence);
  message(sentence, problem.request_id);
  element("photo").hidden = !pictureShown;
  element("retry").hidden = !RETRYABLE.has(problem.code);
}

function setState(state) {
  element("outcome-view").dataset.state = state;
  const working = state === "working";
  element("progress").hidden = !working;
  element("cancel").hidden = !working;
  element("another").hidden = working;
}

function startAgain(sentence = "") {
  reset();
  element("outcome-view").hidden = true;
  element("file-input").hidden = false;
  note(sentence);
  element("choose").focus();
}

// Abort the current request and clear what the last photo left on the page.
function reset() {
  current?.abort.abort();
  current = null;
  overlay.show([]);
  cards.show({ faces: [] });
  if (picture.src) URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
  for (const id of ["photo", "photo-note", "message", "message-reference", "retry", "thorough", "downloads"]) {
    element(id).hidden = true;
  }
  element("file-input-note").textContent = "";
}

function select(index) {
  overlay.select(index);
  cards.select(index);
}

function headline(title, spoken = "") {
  element("outcome-title").textContent = title;
  element("outcome-title").focus({ preventScroll: true });
  element("announcement").textContent = [title, spoken].filter(Boolean).join(". ");
}

function message(sentence, reference = "") {
  element("message-text").textContent = sentence;
  element("message").hidden = false;
  element("message-reference").hidden = !reference;
  element("message-reference").querySelector("code").textContent = reference;
}

// A remark that changes nothing else on the page.
function note(sentence) {
  if (current) photoNote(sentence);
  else element("file-input-note").textContent = sentence;
  element("announcement").textContent = sentence;
}

function photoNote(sentence) {
  element("photo-note").textContent = sentence;
  element("photo-note").hidden = false;
}

function showDetails({ timings_ms: timings = {}, models = {} }) {
  const rows = Object.entries(timings).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, stepName(name)), make("td", {}, formatMilliseconds(value))),
  );
  const items = Object.entries(models).map(([name, hash]) =>
    make("li", {}, taskName(name), " ", make("code", {}, hash)),
  );
  element("timings").replaceChildren(...rows);
  element("models").replaceChildren(...items);
}

function baseName() {
  return (current.photo.name || text("pasted")).replace(/\.[^.]+$/, "");
}

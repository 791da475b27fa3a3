// The page that teaches: classes, samples, what was learned, a live answer and a model to take away.

import { CameraStream } from "../camera-stream.js";
import { element, encodeCanvas, fileStamp, make, saveFile, say, write } from "../dom.js";
import { drawBars, updateBars } from "../face-card.js";
import { predictionWords, whyUnsure } from "../faces.js";
import { formatNumber, formatProbability, problemSentence, text } from "../language.js";
import { wireChooser } from "../photo-files.js";
import { PhotoQueue } from "../photo/queue.js";
import { shrink } from "../photo/shrink.js";
import { take } from "../realtime/frames.js";
import { parse, problemOf, Service, ServiceError } from "../service.js";
import { softmax } from "../softmax.js";
import * as cards from "./class-cards.js";
import { decodeFloats, decodePixels, encodeFloats } from "./encoding.js";
import { costOf } from "./figures.js";
import { Lesson, MOST_CLASSES, MOST_SAMPLES, plain } from "./lesson.js";
import { dot } from "./logistic.js";
import { showFigures, showNothing, threshold } from "./result-view.js";

const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 } };
const SAMPLE_MS = 200;
// A slow server gets fewer frames, rather than those of long ago.
const MOST_WAITING = 10;
// So that a live test leaves the greater part of the rate limit to samples.
const LIVE_MS = 350;
// Samples that go to the worker in one step, which is a block of the page's own thread.
const AT_ONCE = 50;
const THUMBNAIL = 64;
const PIXELS_SIDE = 24;
// The server's cards have none of it.
const MARKUP = /[<>&"]/;

const root = element("teach");
const { features: featuresAddress, heads, service, limitMb } = root.dataset;
const shrinking = { effort: "balanced", original: false, limitBytes: Number(limitMb) * 1e6 };
const video = element("video");
const camera = new CameraStream(video, CAMERA, () => stopCamera("camera.gone"));
const featureService = new Service(featuresAddress, Number(limitMb));
const analyzeService = new Service(service, Number(limitMb));
const queue = new PhotoQueue(({ photo }, signal) => extract(photo, signal), onEntry);
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const edits = { rename, removeClass, photos: addPhotos, press: hold, release };

let lesson = new Lesson(chosenRegion());
let sent = new Set(); // samples that the worker has
let version = 0;
let model = null;
let figures = null; // with the classes they are of
let pressed = false;
let holding = null; // the timer of a recording
let missed = 0;
let scheduled = false;

const clicks = {
  "start-camera": () => (camera.isOpen ? stopCamera("stopped") : startCamera()),
  "add-class": () => newClass().querySelector("input").focus(),
  "save-lesson": () => saveFile(lesson.toJson(), "application/json", `raut-lesson-${fileStamp(new Date())}.json`),
  "start-anew": () => {
    if (!lesson.samples.length || window.confirm(text("forget_all"))) open(anew());
  },
};
for (const [id, action] of Object.entries(clicks)) element(id).addEventListener("click", action);
for (const radio of element("region").querySelectorAll("input")) radio.addEventListener("change", () => open(anew()));
element("with-pixels").addEventListener("change", learn);
element("take-away").addEventListener("submit", takeAway);
wireChooser(element("open-lesson"), element("lesson-file"), ([file]) => file && openFile(file));
wireChooser(element("test-photo"), element("test-file"), ([file]) => file && testPhoto(file));
cards.wireDrop(element("test"), ([file]) => file && testPhoto(file));
// A photo dropped beside a class would replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
worker.onmessage = ({ data }) => data.version === version && onLearned(data);
window.addEventListener("pagehide", () => camera.release());
window.addEventListener("beforeunload", (event) => lesson.samples.length && event.preventDefault());

open(lesson);
testLive();

function chosenRegion() {
  return element("region").querySelector("input:checked").value;
}

/** Return an empty lesson with the same names. */
function anew() {
  const fresh = new Lesson(chosenRegion());
  for (const { name, en, id } of lesson.classes) Object.assign(fresh.addClass(name), { en, id });
  return fresh;
}

function open(opened) {
  queue.clear();
  lesson = opened;
  model = figures = null;
  missed = 0;
  cards.clear();
  element("region").querySelector(`[value=${lesson.region}]`).checked = true;
  while (lesson.classes.length < 2) lesson.addClass(text("class_name", { number: lesson.classes.length + 1 }));
  lesson.classes.forEach((kind) => cards.addClass(kind, edits));
  lesson.samples.forEach((sample) => cards.addSample(sample, removeSample));
  element("test-answer").hidden = true;
  say("");
  changed();
}

async function openFile(file) {
  try {
    open(Lesson.parse(await file.text()));
  } catch {
    return say(text("no_lesson", { name: file.name }));
  }
  // Any picture tells the version of the server's networks.
  const blank = await encodeCanvas(make("canvas", { width: 64, height: 64 }), "image/png");
  const answer = await extract(new File([blank], "blank.png")).catch(() => null);
  if (answer) sameVersion(answer);
}

function newClass() {
  const card = cards.addClass(lesson.addClass(text("class_name", { number: lesson.classes.length + 1 })), edits);
  changed();
  return card;
}

function rename(kind, name) {
  kind.name = name;
  showLearned();
  scheduleUpdate();
}

function removeClass(kind) {
  if (lesson.of(kind).length && !window.confirm(text("forget_class", { name: kind.name }))) return;
  lesson.removeClass(kind);
  cards.removeClass(kind);
  changed();
}

function removeSample(sample) {
  sample.removed = true;
  lesson.remove(sample);
  changed();
}

async function startCamera() {
  say(text("camera.opening"));
  const fault = await camera.start();
  if (fault === "abandoned") return;
  say(text(fault ?? "camera_on"));
  showCamera();
}

function stopCamera(reason) {
  release();
  camera.release();
  showCamera();
  say(text(reason));
}

function showCamera() {
  element("view").hidden = !camera.isOpen;
  write(element("start-camera"), text(camera.isOpen ? "stop_camera" : "start_camera"));
}

async function hold(kind) {
  pressed = true;
  if (!camera.isOpen) await startCamera();
  // The button may be free again once the visitor has allowed the camera.
  if (!pressed || !camera.isOpen || holding) return;
  const recording = lesson.startRecording();
  const sample = async () => {
    if (video.videoWidth && queue.waiting < MOST_WAITING) enqueue(kind, [await takeFrame()], () => recording);
  };
  holding = setInterval(sample, SAMPLE_MS);
  root.dataset.holding = "";
  sample();
}

const takeFrame = async () => new File([await take(video)], "frame.jpg", { type: "image/jpeg" });

function release() {
  pressed = false;
  clearInterval(holding);
  holding = null;
  delete root.dataset.holding;
}

function addPhotos(kind, files) {
  if (!files.length) return say(text("no_photos"));
  const recording = lesson.startRecording();
  const each = element("each-alone").checked;
  enqueue(kind, files, () => (each ? lesson.startRecording() : recording));
}

function enqueue(kind, files, recordingOf) {
  const room = Math.max(0, MOST_SAMPLES - lesson.samples.length - queue.waiting);
  if (files.length > room) {
    release();
    say(text("full", { most: formatNumber(MOST_SAMPLES), taken: formatNumber(room), count: formatNumber(files.length) }));
  }
  for (const entry of queue.add(files.slice(0, room))) Object.assign(entry, { kind, recording: recordingOf() });
  queue.resume();
}

/** Ask the server for a picture's features, and make its thumbnail. */
async function extract(photo, signal = new AbortController().signal) {
  const { sent: picture } = await shrink(photo, shrinking);
  const { answer } = await featureService.send(picture, signal, [["region", lesson.region]]);
  return { ...answer, thumbnail: answer.features && (await drawThumbnail(picture, answer)) };
}

async function drawThumbnail(picture, { box, pixels }) {
  const canvas = make("canvas", { width: THUMBNAIL, height: THUMBNAIL });
  const context = canvas.getContext("2d");
  try {
    const bitmap = await createImageBitmap(picture);
    const side = Math.min(bitmap.width, bitmap.height);
    const cut = box ?? { x: (bitmap.width - side) / 2, y: (bitmap.height - side) / 2, width: side, height: side };
    context.drawImage(bitmap, cut.x, cut.y, cut.width, cut.height, 0, 0, THUMBNAIL, THUMBNAIL);
    bitmap.close();
  } catch {
    // The browser can't read the format: what the server cut shows the sample, too.
    const data = new ImageData(PIXELS_SIDE, PIXELS_SIDE);
    decodePixels(pixels).forEach((value, at) => data.data.set([255 * value, 255 * value, 255 * value, 255], 4 * at));
    context.drawImage(await createImageBitmap(data), 0, 0, THUMBNAIL, THUMBNAIL);
  }
  return canvas.toDataURL("image/jpeg", 0.8);
}

function onEntry(entry) {
  const { state, kind, recording, problem } = entry;
  if (state !== "done" && state !== "failed") return scheduleUpdate();
  queue.entries.splice(queue.entries.indexOf(entry), 1);
  if (state === "failed") say(problemSentence(problem));
  else if (!entry.features) say(text("no_face_in", { count: formatNumber(++missed) }));
  else if (lesson.has(kind, recording, entry.features)) say(text("twice", { name: kind.name }));
  else if (sameVersion(entry) && lesson.classes.includes(kind)) {
    lesson.version = entry.version;
    cards.addSample(lesson.add(kind, recording, entry), removeSample);
    changed();
  }
  scheduleUpdate();
}

/** Return whether features go with the lesson's; say so where they don't. */
function sameVersion(answer) {
  if (!lesson.samples.length || answer.version === lesson.version) return true;
  queue.clear();
  release();
  say(text("other_version"));
  return false;
}

function changed() {
  learn();
  scheduleUpdate();
}

/** Write all that follows from the lesson once before the next frame. */
function scheduleUpdate() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    update();
  });
}

function update() {
  const alike = lesson.alike;
  for (const kind of lesson.classes) {
    const note = noteOn(kind, alike);
    cards.update(kind, { count: lesson.of(kind).length, recordings: lesson.recordingsOf(kind), note });
  }
  element("region").disabled = lesson.samples.length > 0;
  element("add-class").disabled = lesson.classes.length >= MOST_CLASSES;
  element("save-lesson").disabled = !lesson.samples.length;
  const twins = lesson.twins.map((pair) => text("twins", pair));
  write(element("twins"), twins.join(" "));
  write(element("waiting"), queue.waiting ? text("waiting", { count: formatNumber(queue.waiting) }) : "");
  showLabels();
}

/** Return what is wrong with a class's name, if anything. */
function noteOn({ name }, alike) {
  if (!plain(name)) return text("no_name");
  return MARKUP.test(name) ? text("marked_up") : alike.some((each) => each.name === name) ? text("alike") : "";
}

function learn() {
  version++;
  figures = null;
  const taught = lesson.taught;
  const enough = taught.length > 1;
  if (!enough) {
    model = null;
    sent = new Set();
    element("model-note").textContent = "";
    showNothing(text(lesson.samples.length ? "one_class" : "nothing_yet"));
  }
  const fresh = enough ? lesson.samples.filter(({ id }) => !sent.has(id)).slice(0, AT_ONCE) : [];
  fresh.forEach(({ id }) => sent.add(id));
  const known = lesson.samples.filter(({ id }) => sent.has(id));
  worker.postMessage({
    version,
    samples: known.map(({ id, kind, recording }) => ({ id, recording, label: taught.indexOf(kind) })),
    fresh: fresh.map(({ id, features, pixels }) => ({ id, features, pixels })),
    classes: taught.length,
    withPixels: element("with-pixels").checked,
  });
  if (enough && known.length < lesson.samples.length) setTimeout(learn);
}

function onLearned({ model: learned, figures: measured }) {
  const taught = lesson.taught;
  if (learned) {
    model = { ...learned, classes: taught };
    write(element("model-note"), text("fitted", { count: formatNumber(learned.count), milliseconds: formatNumber(Math.max(1, Math.round(learned.took))) }));
  }
  if (!measured) return;
  figures = { ...measured, classes: taught };
  showLearned();
}

function showLearned() {
  if (!figures) return;
  const classes = figures.classes.map((kind) => ({ name: kind.name, count: lesson.of(kind).length, recordings: lesson.recordingsOf(kind) }));
  const byId = new Map(lesson.samples.map((sample) => [sample.id, sample]));
  showFigures(classes, figures, (at) => byId.get(figures.order[at]));
}

async function testLive() {
  for (;;) {
    await new Promise((resume) => setTimeout(resume, LIVE_MS));
    if (!camera.isOpen || !model || holding || document.hidden || queue.waiting || !video.videoWidth) continue;
    await test(await takeFrame());
  }
}

async function testPhoto(file) {
  if (!model) return say(text("nothing_to_test"));
  // The camera's next answer would replace the photo's.
  if (camera.isOpen) stopCamera("stopped");
  await test((await shrink(file, shrinking)).sent);
}

async function test(picture) {
  try {
    const reading = lesson.region === "face" ? analyzeService.analyze(picture, new AbortController().signal) : {};
    const [answer, { analysis }] = await Promise.all([extract(picture), reading]);
    if (!model || !sameVersion(answer)) return;
    showAnswer(answer, analysis?.faces ?? []);
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    say(problemSentence(error.problem));
  }
}

function showAnswer({ features, box, thumbnail }, faces) {
  element("test-answer").hidden = false;
  element("test-picture").hidden = !features;
  if (!features) {
    drawBars(element("test-bars"), []);
    return write(element("test-word"), text("no_face"));
  }
  element("test-picture").src = thumbnail;
  const values = decodeFloats(features);
  const shares = softmax(model.weights.map((each, at) => dot(each, values) + model.bias[at]), model.temperature);
  const most = Math.max(...shares);
  const sure = most >= threshold();
  const [best] = model.classes.filter((_, at) => shares[at] === most);
  write(element("test-word"), sure ? best.name : text("none_of_these", { limit: formatProbability(threshold()) }));
  drawBars(element("test-bars"), model.classes.map((kind, at) => ({ words: kind.name, share: shares[at], answered: sure && kind === best })));
  const expression = box && faces.find((face) => Math.abs(face.box.x - box.x) < box.width / 2 && Math.abs(face.box.y - box.y) < box.height / 2)?.expression;
  element("test-expression").hidden = !expression;
  if (!expression) return;
  updateBars(element("expression-bars"), expression);
  write(element("expression-word"), [predictionWords(expression), whyUnsure(expression)].filter(Boolean).join(": "));
}

/** Keep a row of labels for each class. */
function showLabels() {
  const body = element("labels").tBodies[0];
  const kinds = lesson.taught;
  if (body.rows.length !== kinds.length || kinds.some((kind, at) => body.rows[at].kind !== kind)) {
    body.replaceChildren(...kinds.map(labelRow));
  }
  kinds.forEach(({ name }, at) => {
    write(body.rows[at].cells[0], name);
    body.rows[at].querySelectorAll("input").forEach((input) => {
      input.placeholder = name;
      input.ariaLabel = text(`label_${input.name}`, { name });
    });
  });
}

function labelRow(kind) {
  const field = (name) => {
    const input = make("input", { className: "form-control", name, value: kind[name], maxLength: 40, autocomplete: "off" });
    input.addEventListener("input", () => (kind[name] = input.value));
    return make("td", {}, input);
  };
  return Object.assign(make("tr", {}, make("th", { scope: "row" }), field("en"), field("id")), { kind });
}

async function takeAway(event) {
  event.preventDefault();
  const fault = notReady();
  if (fault) return tell(fault);
  tell(text("making"));
  const name = element("model-name").value;
  const response = await fetch(heads, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(describeHead(name)) }).catch(() => null);
  if (response?.ok) {
    saveFile(await response.blob(), "application/zip", `${name}.zip`);
    return tell(text("made", { name }));
  }
  tell(problemSentence(response ? problemOf(response.status, parse(await response.text()), limitMb) : { code: "network" }));
}

function notReady() {
  const alike = lesson.alike;
  // Names first: they can be corrected while the figures are being measured.
  const fault = lesson.classes.map((kind) => noteOn(kind, alike)).find(Boolean);
  if (fault) return fault;
  if (!model || !figures?.outcomes) return text(lesson.taught.length > 1 ? "still_measuring" : "one_class");
  return figures.honest ? "" : text("not_honest");
}

function describeHead(name) {
  const { honest, confusion, classes } = figures;
  return {
    name,
    region: lesson.region,
    version: lesson.version,
    classes: model.classes.map((kind) => ({ name: kind.name.trim(), en: kind.en.trim() || kind.name.trim(), id: kind.id.trim() || kind.name.trim() })),
    weights: encodeFloats(model.weights),
    bias: model.bias,
    temperature: model.temperature,
    threshold: threshold(),
    figures: {
      accuracy: honest.accuracy,
      low: honest.low,
      high: honest.high,
      samples: Object.fromEntries(classes.map((kind) => [kind.name.trim(), lesson.of(kind).length])),
      recordings: honest.groups,
      confusion,
      ...costOf(figures.outcomes, threshold()),
    },
  };
}

const tell = (sentence) => write(element("take-away-note"), sentence);

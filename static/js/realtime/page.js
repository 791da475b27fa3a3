// The live page: LIVE, PAUSED or STOPPED, and everything that follows from an answer.

import { save } from "../downloads.js";
import { expressionWord } from "../faces.js";
import { formatNumber, refusalSentence, text } from "../language.js";
import { Hud } from "./hud.js";
import { FrameMaker, watchFrames } from "./frames.js";
import { CameraStream } from "./camera-stream.js";
import { FaceCards } from "./face-cards.js";
import { Recording } from "./recording.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { Transport } from "./transport.js";

// Spoken results interrupt; one at a time, and never thirty a second.
const ANNOUNCE_MS = 4000;
const SUMMARY_MS = 5000;
const MOST_ANNOUNCED = 5;
// A sentence about one frame stays this long, or nobody could read it.
const TROUBLE_MS = 3000;

const element = (id) => document.getElementById(id);
const root = element("realtime");
const view = element("view");
const video = element("video");
const smoothing = element("smoothing");

// The visitor's choice of models, as the server wrote it.
const choice = JSON.parse(root.dataset.choice);

const cameraStream = new CameraStream(video, () => stop("camera.gone"));
const maker = new FrameMaker();
const stage = new Stage(view, element("canvas"), choose);
const faceCards = new FaceCards(element("face-cards"), choose);
const timeline = new Timeline(element("timeline"), element("classes"), element("timeline-summary"));
const hud = new Hud(element("rate"), element("delay"), element("dropped"));
const recording = new Recording(aboutReadings);
const transport = new Transport(
  {
    socket: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${root.dataset.socket}`,
    service: root.dataset.service,
    limitMb: Number(root.dataset.limitMb),
    choice,
  },
  { answer: showAnswer, problem: showProblem, connected, renumbered, waiting, refused },
);

let state = "stopped";
let takenAt = 0;
let troubledAt = null;
let models = {};
let announced = { words: "", at: -Infinity };
let summarizedAt = -Infinity;

element("start").addEventListener("click", () => start());
element("again").addEventListener("click", () => start());
element("pause").addEventListener("click", () => (state === "live" ? pause("said.paused") : resume()));
element("stop").addEventListener("click", () => stop("said.stopped"));
element("locked").addEventListener("change", ({ target }) => {
  stage.locked = target.checked;
  stage.redraw();
});
element("mirrored").addEventListener("change", ({ target }) => {
  stage.mirrored = target.checked;
  stage.redraw();
});
smoothing.addEventListener("input", () => setSmoothing());
element("camera").addEventListener("change", ({ target }) => start(target.value));
element("first-camera").addEventListener("change", ({ target }) => (element("camera").value = target.value));
element("snapshot").addEventListener("click", saveSnapshot);
element("full-screen").addEventListener("click", toggleFullScreen);
element("record").addEventListener("click", toggleRecording);
element("save-csv").addEventListener("click", () => recording.saveCsv());
element("save-json").addEventListener("click", () => recording.saveJson());
view.addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => {
  if (document.hidden && state === "live") pause("said.left");
});
window.addEventListener("pagehide", () => stop("said.stopped"));
window.addEventListener("beforeunload", (event) => {
  if (recording.running && recording.count) event.preventDefault();
});
document.addEventListener("fullscreenchange", () => {
  element("full-screen").setAttribute("aria-pressed", String(document.fullscreenElement === view));
});

watchFrames(video, takeFrame);
cameraStream.fillPicker(element("first-camera"));
setSmoothing();

async function start(deviceId = element("camera").value || element("first-camera").value) {
  say("camera.opening");
  const fault = await cameraStream.start(deviceId);
  if (fault === "given_up") return;
  if (fault) return failToOpen(fault);
  const first = element("before").hidden === false;
  element("before").hidden = true;
  element("live").hidden = false;
  if (state === "stopped") hud.reset();
  await cameraStream.fillPicker(element("camera"));
  resume();
  if (first) view.focus();
}

function failToOpen(fault) {
  if (state !== "stopped") stop(fault);
  say(fault, {}, { upload: true });
}

function resume() {
  setState("live");
  say("said.connecting");
  transport.open();
}

function pause(reason) {
  if (state !== "live") return;
  transport.pause();
  hud.rest();
  setState("paused");
  say(reason);
}

function stop(reason) {
  if (state === "stopped" && !cameraStream.open) return;
  transport.close();
  cameraStream.release();
  stage.clear();
  faceCards.clear();
  hud.rest();
  if (recording.running) toggleRecording();
  setState("stopped");
  say(reason, {}, { upload: reason === "camera.gone" });
}

function setState(next) {
  state = next;
  root.dataset.state = next;
  element("state").textContent = text(`states.${next}`);
  element("pause").textContent = text(next === "paused" ? "resume" : "pause");
  element("pause").hidden = next === "stopped";
  element("stop").hidden = next === "stopped";
  element("again").hidden = next !== "stopped";
  element("snapshot").disabled = next === "stopped";
  element("record").disabled = next === "stopped" && !recording.running;
}

async function takeFrame(at) {
  if (state !== "live" || !video.videoWidth) return;
  if (!transport.ready) return hud.skip();
  transport.reserve();
  takenAt = at;
  transport.send(await maker.take(video));
}

function showAnswer(answer) {
  stage.show(answer, maker.picture);
  const delay = performance.now() - takenAt;
  models = answer.models ?? models;
  maker.adapt(delay);
  hud.answered(delay, answer.dropped);
  faceCards.show(answer.faces);
  timeline.add(answer.faces);
  keep(answer, delay);
  announce(answer.faces);
  element("nobody").hidden = answer.faces.length > 0;
  if (troubledAt !== null && performance.now() - troubledAt > TROUBLE_MS) connected(transport.name);
}

function keep(answer, delay) {
  if (!recording.running) return;
  recording.add(answer, delay);
  element("recorded").textContent = text("recorded", { count: formatNumber(recording.count) });
  if (recording.full) toggleRecording();
}

function showProblem(problem) {
  troubledAt = performance.now();
  // Until frames are read again, the boxes would lie where faces no longer are.
  if (problem.retry_after) {
    hud.rest();
    stage.clearBoxes();
  }
  say(refusalSentence(problem));
}

function connected(how) {
  troubledAt = null;
  say(how === "socket" ? "said.live" : "said.photos");
}

function renumbered() {
  faceCards.clear();
  timeline.clear();
}

function waiting(reason, milliseconds) {
  hud.rest();
  stage.clearBoxes();
  const seconds = formatNumber(Math.ceil(milliseconds / 1000));
  say([text(`closed.${reason}`), text("said.waiting", { seconds })].join(" "));
}

function refused(reason) {
  pause(`closed.${reason}`);
}

function choose(track) {
  faceCards.choose(track);
  stage.choose(track);
  timeline.choose(track);
  element("timeline-face").textContent = text("face", { number: track });
}

function setSmoothing() {
  const seconds = Number(smoothing.value);
  const words = text("seconds", { count: formatNumber(seconds) });
  element("smoothing-value").textContent = words;
  smoothing.setAttribute("aria-valuetext", words);
  transport.set({ smoothing_seconds: seconds, ...choice });
}

async function saveSnapshot() {
  if (!stage.hasPicture) return;
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  save(await stage.snapshot(), `raut-${stamp}Z.png`);
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else view.requestFullscreen?.().catch(() => say("said.no_full_screen"));
}

function toggleRecording() {
  if (recording.running) recording.stop();
  else recording.start();
  const { running, count } = recording;
  root.toggleAttribute("data-recording", running);
  element("record").textContent = text(running ? "stop_recording" : "start_recording");
  element("recorded").textContent = text("recorded", { count: formatNumber(count) });
  element("saving").hidden = running || !count;
  element("record").disabled = state === "stopped";
}

function aboutReadings() {
  return {
    models,
    settings: { smoothing_seconds: Number(smoothing.value), transport: transport.name, ...maker.step },
    frame: { width: maker.picture.width, height: maker.picture.height },
    frames_dropped: hud.dropped,
    meaning: root.dataset.meaning,
  };
}

// Only while the picture has the focus, so that no key is taken from a reader who types elsewhere.
function onKey(event) {
  const actions = {
    " ": () => (state === "live" ? pause("said.paused") : state === "paused" ? resume() : start()),
    Escape: () => stop("said.stopped"),
    f: toggleFullScreen,
    m: () => element("mirrored").click(),
  };
  const action = actions[event.key];
  if (!action || event.target !== view || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
}

/** Show a sentence, by its path or as it is, and speak it. */
function say(sentence, values = {}, { upload = false } = {}) {
  const known = /^[a-z_]+\.[a-z_]+$/.test(sentence);
  const words = known ? text(sentence, values) : sentence;
  // Writing the same words again would speak them again.
  if (element("message-text").textContent !== words) element("message-text").textContent = words;
  element("message-upload").hidden = !upload;
  element("message").hidden = false;
}

function announce(faces, now = performance.now()) {
  if (now - summarizedAt >= SUMMARY_MS) {
    summarizedAt = now;
    timeline.summarize();
  }
  if (now - announced.at < ANNOUNCE_MS) return;
  const words = faces
    .slice(0, MOST_ANNOUNCED)
    .map((face) => text("box_name", { number: face.track, expression: expressionWord(face) || "–" }))
    .join(". ");
  if (words === announced.words) return;
  announced = { words, at: now };
  element("announcement").textContent = words || text("no_face");
}

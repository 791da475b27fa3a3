// The live page: LIVE, RECONNECTING, PAUSED or STOPPED, and what follows from an answer.

import { CameraStream } from "../camera-stream.js";
import { element, fileStamp, saveFile, wireKeys, write } from "../dom.js";
import { spokenFaces } from "../faces.js";
import { formatNumber, problemSentence, text } from "../language.js";
import * as faceCards from "./face-cards.js";
import * as frames from "./frames.js";
import * as hud from "./hud.js";
import * as overlay from "./overlay.js";
import * as recorder from "./recorder.js";
import * as timeline from "./timeline.js";
import { connectionOf, Transport } from "./transport.js";

// Speech interrupts the listener, so it comes now and then, not at every frame.
const ANNOUNCE_MS = 4000;
const SUMMARY_MS = 5000;
// A sentence about one frame stays long enough to be read.
const PROBLEM_MS = 3000;
// Without an answer for this long, what is shown is no longer live.
const SILENT_MS = 2000;
const SILENCE_CHECK_MS = 250;
// More is scaled down before it is sent.
const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

const root = element("realtime");
const view = element("view");
const video = element("video");
const smoothing = element("smoothing");

const connection = connectionOf(root);

const cameraStream = new CameraStream(video, CAMERA, () => stop("camera.gone"));
const transport = new Transport(
  connection,
  { answer: showAnswer, problem: showProblem, connected, renumbered, waiting, rejected: (reason) => pause(`closed.${reason}`) },
);

let state = "stopped";
let takenAt = 0;
let problemAt = null;
// When the server answered last; nothing is overdue before its first answer.
let answeredAt = Infinity;
let unreachable = false;
let models = {};
let announced = { words: "", at: -Infinity };
let summarizedAt = -Infinity;

const clicks = {
  start: () => start(),
  again: () => start(),
  pause: () => (state === "live" ? pause("status.paused") : resume()),
  stop: () => stop("status.stopped"),
  snapshot: saveSnapshot,
  "full-screen": toggleFullScreen,
};
for (const [id, action] of Object.entries(clicks)) element(id).addEventListener("click", action);
for (const option of ["locked", "mirrored"]) {
  element(option).addEventListener("change", ({ target }) => {
    overlay.options[option] = target.checked;
    overlay.redraw();
  });
}
element("all-faces").addEventListener("change", ({ target }) => timeline.showAll(target.checked));
smoothing.addEventListener("input", setSmoothing);
element("camera").addEventListener("change", ({ target }) => start(target.value));
element("first-camera").addEventListener("change", ({ target }) => (element("camera").value = target.value));
wireKeys(view, {
  " ": () => (state === "stopped" ? clicks.start() : clicks.pause()),
  Escape: clicks.stop,
  f: toggleFullScreen,
  m: () => element("mirrored").click(),
  e: recorder.mark,
});
document.addEventListener("visibilitychange", () => document.hidden && pause("status.left"));
window.addEventListener("pagehide", () => stop("status.stopped"));
document.addEventListener("fullscreenchange", () => {
  element("full-screen").textContent = text(document.fullscreenElement ? "exit_full_screen" : "full_screen");
  view.focus();
});
setInterval(showSilence, SILENCE_CHECK_MS);

frames.watch(video, takeFrame);
recorder.wireRecorder(describeReadings);
overlay.wireOverlay(select);
cameraStream.fillPicker(element("first-camera"));
setSmoothing();

async function start(deviceId = element("camera").value || element("first-camera").value) {
  say("camera.opening");
  const fault = await cameraStream.start(deviceId);
  if (fault === "abandoned") return;
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
  say(fault, { upload: true });
}

function resume() {
  answeredAt = Infinity;
  unreachable = false;
  setState("live");
  say("status.connecting");
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
  if (state === "stopped" && !cameraStream.isOpen) return;
  transport.close();
  cameraStream.release();
  overlay.clear();
  faceCards.clear();
  hud.rest();
  recorder.stop();
  setState("stopped");
  say(reason, { upload: reason === "camera.gone" });
}

function setState(next) {
  state = next;
  showBadge(next);
  element("pause").textContent = text(next === "paused" ? "resume" : "pause");
  element("pause").hidden = next === "stopped";
  element("stop").hidden = next === "stopped";
  element("again").hidden = next !== "stopped";
  element("snapshot").disabled = next === "stopped";
  element("record").disabled = next === "stopped";
}

function showBadge(shown, seconds = "") {
  root.dataset.state = shown;
  write(element("state"), text(`states.${shown}`, { seconds }));
}

/** Say in the badge's place how long no answer has come, or that answers come. */
function showSilence() {
  if (state !== "live") return;
  const silent = Math.max(0, performance.now() - answeredAt);
  if (!unreachable && (transport.ready || silent < SILENT_MS)) return showBadge("live");
  showBadge("reconnecting", formatNumber(Math.floor(silent / 1000)));
}

function answered() {
  answeredAt = performance.now();
  unreachable = false;
}

async function takeFrame(at) {
  if (state !== "live" || !video.videoWidth) return;
  if (!transport.ready) return hud.skip();
  transport.reserve();
  takenAt = at;
  transport.send(await frames.take(video));
}

function showAnswer(answer) {
  answered();
  overlay.show(answer, frames.canvas);
  const delay = performance.now() - takenAt;
  models = answer.models ?? models;
  frames.adapt(delay);
  hud.answered(delay, answer.dropped);
  faceCards.show(answer.faces, select);
  timeline.add(answer.faces);
  recorder.add(answer, delay);
  announce(answer.faces);
  element("no-face").hidden = answer.faces.length > 0;
  if (problemAt !== null && performance.now() - problemAt > PROBLEM_MS) connected(transport.name);
}

function showProblem(problem) {
  answered();
  problemAt = answeredAt;
  // Until the next answer the boxes would lie where faces no longer are.
  if (problem.retry_after) {
    hud.rest();
    overlay.clearBoxes();
  }
  say(problemSentence(problem));
}

function connected(how) {
  problemAt = null;
  say(how === "socket" ? "status.live" : "status.photos");
}

function renumbered() {
  faceCards.clear();
  timeline.clear();
}

function waiting(reason, milliseconds) {
  unreachable = true;
  answeredAt = Math.min(answeredAt, performance.now());
  hud.rest();
  overlay.clearBoxes();
  const seconds = formatNumber(Math.ceil(milliseconds / 1000));
  say([text(`closed.${reason}`), text("status.waiting", { seconds })].join(" "));
}

function select(track) {
  faceCards.select(track);
  overlay.select(track);
  timeline.select(track);
  element("timeline-face").textContent = text("face", { number: track });
}

function setSmoothing() {
  const seconds = Number(smoothing.value);
  const words = text("seconds", { count: formatNumber(seconds) });
  element("smoothing-value").textContent = words;
  smoothing.setAttribute("aria-valuetext", words);
  transport.set({ smoothing_seconds: seconds, ...connection.choice });
}

async function saveSnapshot() {
  if (overlay.hasFrame()) saveFile(await overlay.snapshot(), "image/png", `raut-${fileStamp(new Date())}.png`);
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else element("stage").requestFullscreen?.().catch(() => say("status.no_full_screen"));
}

function describeReadings() {
  return {
    models,
    settings: { smoothing_seconds: Number(smoothing.value), transport: transport.name, ...frames.step() },
    frame: { width: frames.canvas.width, height: frames.canvas.height },
    frames_dropped: hud.dropped(),
    meaning: root.dataset.meaning,
  };
}

/** Show a sentence, given by its path or as it is, and speak it. */
function say(sentence, { upload = false } = {}) {
  const isPath = /^[a-z_]+\.[a-z_]+$/.test(sentence);
  write(element("message-text"), isPath ? text(sentence) : sentence);
  element("message-upload").hidden = !upload;
  element("message").hidden = false;
}

function announce(faces, now = performance.now()) {
  if (now - summarizedAt >= SUMMARY_MS) {
    summarizedAt = now;
    timeline.summarize();
  }
  if (now - announced.at < ANNOUNCE_MS) return;
  const words = spokenFaces(faces, (face) => face.track);
  if (words === announced.words) return;
  announced = { words, at: now };
  element("announcement").textContent = words || text("no_face");
}

// The camera's dialog: one photo, and the camera released whichever way the dialog closes.

import { CameraStream } from "../camera-stream.js";
import { element, encodeCanvas, make } from "../dom.js";
import { text } from "../language.js";

const QUALITY = 0.92;

const dialog = element("camera");
const video = element("camera-video");
const take = element("camera-take");
const camera = new CameraStream(video, { width: { ideal: 1280 } });

/** Wire the dialog; `onPhoto` is called with the file of a photo taken. */
export function wireCamera(onPhoto) {
  element("snap").addEventListener("click", open);
  element("camera-close").addEventListener("click", () => dialog.close());
  take.addEventListener("click", () => snap(onPhoto));
  dialog.addEventListener("close", () => {
    camera.release();
    setReady(false);
  });
}

async function open() {
  dialog.showModal();
  say("camera.opening");
  const problem = await camera.start();
  if (problem === "abandoned" || !dialog.open) return;
  setReady(!problem);
  say(problem ?? "camera.ready");
  if (!problem) take.focus();
}

async function snap(onPhoto) {
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  dialog.close();
  const blob = await encodeCanvas(canvas, "image/jpeg", QUALITY);
  onPhoto(new File([blob], `${text("snapshot")}.jpg`, { type: "image/jpeg" }));
}

function setReady(ready) {
  element("viewfinder").hidden = !ready;
  take.disabled = !ready;
}

const say = (path) => (element("camera-message").textContent = text(path));

// The camera's dialog: open, look, take one photo, and always let go of the camera.

import { text } from "./language.js";

const QUALITY = 0.92;
const WANTED = { video: { facingMode: "user", width: { ideal: 1280 } }, audio: false };
const REASONS = {
  NotAllowedError: "camera.denied",
  SecurityError: "camera.denied",
  NotFoundError: "camera.missing",
  OverconstrainedError: "camera.missing",
};

export class Camera {
  #dialog = document.getElementById("camera");
  #viewfinder = document.getElementById("viewfinder");
  #video = document.getElementById("camera-video");
  #message = document.getElementById("camera-message");
  #take = document.getElementById("camera-take");
  #stream = null;
  #onPhoto;

  /** @param onPhoto called with the file of a photo taken */
  constructor(onPhoto) {
    this.#onPhoto = onPhoto;
    this.#take.addEventListener("click", () => this.#snap());
    document.getElementById("camera-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#release());
  }

  async open() {
    this.#dialog.showModal();
    const obstacle = obstacleBeforeAsking();
    if (obstacle) return this.#say(obstacle);
    this.#say("camera.opening");
    try {
      const stream = await navigator.mediaDevices.getUserMedia(WANTED);
      // The reader may have closed the dialog while the browser was still asking.
      if (!this.#dialog.open) return stop(stream);
      this.#stream = stream;
      this.#video.srcObject = stream;
      this.#viewfinder.hidden = false;
      await this.#video.play();
    } catch (error) {
      if (!this.#dialog.open) return;
      this.#release();
      return this.#say(reasonOf(error));
    }
    if (!this.#dialog.open) return;
    this.#take.disabled = false;
    this.#take.focus();
    this.#say("camera.ready");
  }

  async #snap() {
    const canvas = document.createElement("canvas");
    canvas.width = this.#video.videoWidth;
    canvas.height = this.#video.videoHeight;
    canvas.getContext("2d").drawImage(this.#video, 0, 0);
    this.#dialog.close();
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    this.#onPhoto(new File([blob], `${text("snapshot")}.jpg`, { type: "image/jpeg" }));
  }

  #release() {
    if (this.#stream) stop(this.#stream);
    this.#stream = null;
    this.#video.srcObject = null;
    this.#viewfinder.hidden = true;
    this.#take.disabled = true;
  }

  #say(path) {
    this.#message.textContent = text(path);
  }
}

/** Return the string's path for what rules a camera out on this page, or null. */
export function obstacleBeforeAsking() {
  if (!window.isSecureContext) return "camera.insecure";
  return navigator.mediaDevices?.getUserMedia ? null : "camera.unsupported";
}

/** Return the string's path for why the browser gave no camera. */
export function reasonOf(error) {
  return REASONS[error.name] ?? "camera.busy";
}

export function stop(stream) {
  stream.getTracks().forEach((track) => track.stop());
}

// The camera: opened on request, changed by a picker, and always released.

import { text } from "./language.js";

const REASONS = {
  NotAllowedError: "camera.denied",
  SecurityError: "camera.denied",
  NotFoundError: "camera.missing",
  OverconstrainedError: "camera.missing",
};

export class CameraStream {
  #video;
  #constraints;
  #onEnded;
  #stream = null;
  #attempt = 0;

  /** @param onEnded called when the camera ends by itself: unplugged, or permission withdrawn */
  constructor(video, constraints, onEnded = () => {}) {
    this.#video = video;
    this.#constraints = constraints;
    this.#onEnded = onEnded;
  }

  get isOpen() {
    return this.#stream !== null;
  }

  /**
   * Open the camera; return the path of the string that says what went wrong, or null. If released or
   * started again before the browser has granted the camera, release that one and return "abandoned".
   */
  async start(deviceId = "") {
    this.release();
    if (!window.isSecureContext) return "camera.insecure";
    if (!navigator.mediaDevices?.getUserMedia) return "camera.unsupported";
    const attempt = this.#attempt;
    const choice = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
    try {
      const video = { ...this.#constraints, ...choice };
      const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      if (attempt !== this.#attempt) {
        stop(stream);
        return "abandoned";
      }
      this.#stream = stream;
      stream.getVideoTracks()[0].addEventListener("ended", () => this.#onEnded());
      this.#video.srcObject = stream;
      await this.#video.play();
      return null;
    } catch (error) {
      if (attempt !== this.#attempt) return "abandoned";
      this.release();
      return REASONS[error.name] ?? "camera.busy";
    }
  }

  release() {
    this.#attempt += 1;
    if (this.#stream) stop(this.#stream);
    this.#stream = null;
    this.#video.srcObject = null;
  }

  /** Fill a picker with the cameras that the browser names; hide it while there is no choice. */
  async fillPicker(picker) {
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    // Without permission the browser gives neither names nor identifiers.
    const cameras = devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
    const current = this.#stream?.getVideoTracks()[0].getSettings().deviceId ?? picker.value;
    picker.replaceChildren(
      ...cameras.map(({ deviceId, label }, index) => {
        const name = label || text("camera_number", { number: index + 1 });
        return new Option(name, deviceId, false, deviceId === current);
      }),
    );
    picker.closest(".camera-choice").hidden = cameras.length < 2;
  }
}

function stop(stream) {
  stream.getTracks().forEach((track) => track.stop());
}

// The camera itself: opened on request, changed by the picker, and always let go of.

import { obstacleBeforeAsking, reasonOf, stop } from "../camera.js";
import { text } from "../language.js";

// More would only be made smaller before it is sent.
const WANTED = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

export class CameraStream {
  #video;
  #stream = null;
  #attempt = 0;
  #onEnded;

  /** @param onEnded called when the camera goes away by itself: unplugged, or taken back */
  constructor(video, onEnded) {
    this.#video = video;
    this.#onEnded = onEnded;
  }

  get open() {
    return this.#stream !== null;
  }

  /**
   * Open the camera; returns the string's path for what went wrong, or null. Released or started
   * again while the browser was still asking, it lets go of what it then gets and returns "given_up".
   */
  async start(deviceId = "") {
    this.release();
    const obstacle = obstacleBeforeAsking();
    if (obstacle) return obstacle;
    const attempt = this.#attempt;
    const choice = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { ...WANTED, ...choice }, audio: false });
      if (attempt !== this.#attempt) {
        stop(stream);
        return "given_up";
      }
      this.#stream = stream;
      stream.getVideoTracks()[0].addEventListener("ended", () => this.#onEnded());
      this.#video.srcObject = stream;
      await this.#video.play();
      return null;
    } catch (error) {
      if (attempt !== this.#attempt) return "given_up";
      this.release();
      return reasonOf(error);
    }
  }

  release() {
    this.#attempt += 1;
    if (this.#stream) stop(this.#stream);
    this.#stream = null;
    this.#video.srcObject = null;
  }

  /** Fill a picker with the cameras that the browser names; hidden while there is no choice. */
  async fillPicker(picker) {
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    // Without permission the browser tells of cameras, but neither their names nor how to ask for one.
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

// The film's pictures at given times, drawn by a video element that nobody sees.

import { encodeCanvas, make } from "../dom.js";

const LONGEST_SIDE = 1280;
const QUALITY = 0.9;
// A film that a browser recorded doesn't say how long it is until its end is sought.
const BEYOND = 1e7;
const SEEK_TIMEOUT_MS = 15_000;

export class FrameSource {
  #video = make("video", { muted: true, preload: "auto", playsInline: true });
  // One frame is read while the next is drawn.
  #canvases = [make("canvas"), make("canvas")];
  #before = Promise.resolve(); // the picture that is drawn already

  /** Open a film by its address; throws where the browser can't play it. */
  async open(address) {
    this.#video.src = address;
    await once(this.#video, "loadeddata");
    if (!this.#video.videoWidth) throw new Error("no picture");
    if (this.#video.duration === Infinity) await this.#seek(BEYOND);
    const { videoWidth, videoHeight, duration } = this.#video;
    const scale = Math.min(1, LONGEST_SIDE / Math.max(videoWidth, videoHeight));
    for (const canvas of this.#canvases) {
      canvas.width = Math.round(videoWidth * scale);
      canvas.height = Math.round(videoHeight * scale);
    }
    return { duration, width: videoWidth, height: videoHeight };
  }

  /** Return the picture shown at a time, as a canvas and a JPEG; throws where it can't be decoded. */
  at(time) {
    const drawn = this.#before.then(() => this.#draw(time));
    this.#before = drawn.catch(() => {});
    return drawn;
  }

  async #draw(time) {
    await this.#seek(time);
    const [canvas] = this.#canvases.reverse();
    canvas.getContext("2d", { alpha: false }).drawImage(this.#video, 0, 0, canvas.width, canvas.height);
    return { canvas, blob: await encodeCanvas(canvas, "image/jpeg", QUALITY) };
  }

  close() {
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  async #seek(time) {
    if (this.#video.currentTime === time && !this.#video.seeking) return;
    this.#video.currentTime = time;
    await once(this.#video, "seeked");
  }
}

function once(video, name) {
  return new Promise((resolve, reject) => {
    const listening = new AbortController();
    const { signal } = listening;
    const timer = setTimeout(() => end(reject, new Error("slow")), SEEK_TIMEOUT_MS);
    const end = (settle, value) => {
      clearTimeout(timer);
      listening.abort();
      settle(value);
    };
    video.addEventListener(name, () => end(resolve), { signal });
    video.addEventListener("error", () => end(reject, video.error), { signal });
  });
}

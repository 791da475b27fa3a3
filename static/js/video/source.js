// A film's frames at the times of the samples, drawn by a video element that nobody sees.
//
// Seeking decodes everything from the last key frame on, often for seconds of film. So the film is
// played, faster than it was recorded, and each frame is taken with the time that it bears; what
// playing missed, and all of it in a hidden tab, is sought.

import { encodeCanvas, make } from "../dom.js";

const LONGEST_SIDE = 1280;
const QUALITY = 0.9;
// A film that a browser recorded doesn't say how long it is until its end is sought.
const BEYOND = 1e7;
const SEEK_TIMEOUT_MS = 15_000;
// No frame for this long: the tab is hidden, or the film stalls.
const FRAME_TIMEOUT_MS = 500;
// Frames that wait to be read.
const MOST_WAITING = 6;
// A screen shows 60 frames a second: two of them for each sample keep its time within half a step.
const FASTEST = 30;
const RATES = { least: 0.25, most: 16 };
const SLOWER = 0.8;
// A sample is taken up to this share of a step late; times are compared up to a microsecond or so.
const LATEST = 0.75;
const SAME_SECONDS = 2e-6;

export class FrameSource {
  #video = make("video", { muted: true, preload: "auto", playsInline: true });
  #canvas = make("canvas");
  #waiting = [];
  #run = null;
  #change = Promise.withResolvers();

  /** Open a film by its address; throws where the browser can't play it. */
  async open(address) {
    this.#video.src = address;
    await once(this.#video, "loadeddata");
    if (!this.#video.videoWidth) throw new Error("no picture");
    if (this.#video.duration === Infinity) await this.#seek(BEYOND);
    const { videoWidth, videoHeight, duration } = this.#video;
    const scale = Math.min(1, LONGEST_SIDE / Math.max(videoWidth, videoHeight));
    this.#canvas.width = Math.round(videoWidth * scale);
    this.#canvas.height = Math.round(videoHeight * scale);
    return { duration, width: videoWidth, height: videoHeight };
  }

  /** Begin to draw the samples of some readings from an index on. */
  start(readings, index) {
    this.stop();
    this.#run = {};
    this.#video.playbackRate = Math.min(RATES.most, FASTEST / readings.rate);
    this.#drawAll(readings, index, this.#run);
  }

  stop() {
    this.#run = null;
    this.#waiting = [];
    this.#video.pause();
    this.#changed();
  }

  /** Return the next sample: index, time and JPEG; without a JPEG where it can't be decoded. */
  async take() {
    const run = this.#run;
    while (run && run === this.#run && !this.#waiting.length) await this.#change.promise;
    const { blob, ...sample } = this.#waiting.shift() ?? {};
    this.#changed();
    return { ...sample, blob: await blob };
  }

  close() {
    this.stop();
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  async #drawAll(readings, first, run) {
    for (let index = first; index < readings.count; index += 1) {
      while (run === this.#run && this.#waiting.length >= MOST_WAITING) {
        this.#video.pause();
        await this.#change.promise;
      }
      if (run !== this.#run) return;
      const due = readings.timeOf(index);
      const step = index === first ? 0 : 1 / readings.rate;
      const time = await this.#reach(due, step, run).catch(() => null);
      if (run !== this.#run) return;
      this.#waiting.push({ index, time: time ?? due, blob: time === null ? null : this.#draw() });
      this.#changed();
    }
    this.#video.pause();
  }

  /** Show the frame of a sample, `step` seconds after the last one's; return its time. */
  async #reach(due, step, run) {
    if (step && !this.#video.ended && !document.hidden) {
      if (this.#video.paused) await this.#video.play();
      for (;;) {
        const time = await this.#nextFrame();
        if (run !== this.#run || time === null) break;
        if (time > due + LATEST * step) {
          this.#video.playbackRate = Math.max(RATES.least, this.#video.playbackRate * SLOWER);
          break;
        }
        if (time >= due - SAME_SECONDS) return time;
      }
    }
    if (run !== this.#run) return due;
    this.#video.pause();
    await this.#seek(due);
    return due;
  }

  /** Return the time of the next frame that is played; null where none comes. */
  #nextFrame() {
    return new Promise((resolve) => {
      setTimeout(resolve, FRAME_TIMEOUT_MS, null);
      this.#video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime));
    });
  }

  #draw() {
    this.#canvas.getContext("2d", { alpha: false }).drawImage(this.#video, 0, 0, this.#canvas.width, this.#canvas.height);
    return encodeCanvas(this.#canvas, "image/jpeg", QUALITY);
  }

  async #seek(time) {
    if (this.#video.currentTime === time && !this.#video.seeking) return;
    this.#video.currentTime = time;
    await once(this.#video, "seeked");
  }

  /** Say that a sample came or was taken, or that the run ended. */
  #changed() {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}

function once(video, name) {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(SEEK_TIMEOUT_MS);
    signal.addEventListener("abort", () => reject(signal.reason));
    video.addEventListener(name, resolve, { once: true, signal });
    video.addEventListener("error", () => reject(video.error), { once: true, signal });
  });
}

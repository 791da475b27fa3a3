// The camera's frames as JPEG, made smaller and coarser when answers take too long.

import { encodeCanvas, resize } from "../dom.js";

// From the best to the cheapest: the longest side in pixels and JPEG's quality.
const STEPS = [
  { side: 640, quality: 0.85 },
  { side: 640, quality: 0.7 },
  { side: 480, quality: 0.7 },
  { side: 400, quality: 0.6 },
  { side: 320, quality: 0.6 },
];
// Above this a box visibly trails its face.
const SLOW_MS = 180;
const FAST_MS = 90;
// One late answer changes nothing; a finer step is taken less readily than a coarser one.
const SLOW_BEFORE_COARSER = 6;
const FAST_BEFORE_FINER = 90;

/** Call onFrame(time when the camera took it) for each new frame of the video. */
export function watchFrames(video, onFrame) {
  const next = (now, { captureTime, presentationTime }) => {
    video.requestVideoFrameCallback(next);
    onFrame(captureTime ?? presentationTime ?? now);
  };
  video.requestVideoFrameCallback(next);
}

export class FrameEncoder {
  #step = 0;
  #slow = 0;
  #fast = 0;

  /** The frame that was taken last. */
  canvas = document.createElement("canvas");

  get step() {
    return STEPS[this.#step];
  }

  /** Take the video's current frame; resolves to a JPEG blob. */
  take(video) {
    const { side, quality } = this.step;
    const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale);
    const height = Math.round(video.videoHeight * scale);
    resize(this.canvas, width, height);
    this.canvas.getContext("2d", { alpha: false }).drawImage(video, 0, 0, width, height);
    return encodeCanvas(this.canvas, "image/jpeg", quality);
  }

  /** Adapt to how long a frame took to come back. */
  adapt(delay) {
    this.#slow = delay > SLOW_MS ? this.#slow + 1 : 0;
    this.#fast = delay < FAST_MS ? this.#fast + 1 : 0;
    const change = this.#slow >= SLOW_BEFORE_COARSER ? 1 : this.#fast >= FAST_BEFORE_FINER ? -1 : 0;
    if (!change) return;
    this.#step = Math.max(0, Math.min(STEPS.length - 1, this.#step + change));
    this.#slow = 0;
    this.#fast = 0;
  }
}

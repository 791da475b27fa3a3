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
export function watch(video, onFrame) {
  const next = (now, { captureTime, presentationTime }) => {
    video.requestVideoFrameCallback(next);
    onFrame(captureTime ?? presentationTime ?? now);
  };
  video.requestVideoFrameCallback(next);
}

/** The frame that was taken last. */
export const canvas = document.createElement("canvas");
let at = 0;
let slow = 0;
let fast = 0;

/** Return the side and quality of the next frame. */
export const step = () => STEPS[at];

/** Take the video's current frame; resolves to a JPEG blob. */
export function take(video) {
  const { side, quality } = step();
  const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
  resize(canvas, Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  canvas.getContext("2d", { alpha: false }).drawImage(video, 0, 0, canvas.width, canvas.height);
  return encodeCanvas(canvas, "image/jpeg", quality);
}

/** Adapt to how long a frame took to come back. */
export function adapt(delay) {
  slow = delay > SLOW_MS ? slow + 1 : 0;
  fast = delay < FAST_MS ? fast + 1 : 0;
  const change = slow >= SLOW_BEFORE_COARSER ? 1 : fast >= FAST_BEFORE_FINER ? -1 : 0;
  if (!change) return;
  at = Math.max(0, Math.min(STEPS.length - 1, at + change));
  slow = fast = 0;
}

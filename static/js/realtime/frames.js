// The camera's frames as JPEG, made smaller and coarser when answers take too long.

// From the best to the cheapest: the longest side in pixels and JPEG's quality.
const STEPS = [
  { side: 640, quality: 0.85 },
  { side: 640, quality: 0.7 },
  { side: 480, quality: 0.7 },
  { side: 400, quality: 0.6 },
  { side: 320, quality: 0.6 },
];
// Above this a box visibly trails its face.
const MOST_DELAY_MS = 180;
const EASY_DELAY_MS = 90;
// A single late answer is no reason to change; going up is tried less readily than going down.
const LATE_BEFORE_COARSER = 6;
const EASY_BEFORE_FINER = 90;

/** Call onFrame(time when the camera took it) for each new picture of the video. */
export function watchFrames(video, onFrame) {
  if (!("requestVideoFrameCallback" in HTMLVideoElement.prototype)) return watchByClock(video, onFrame);
  const next = (now, { captureTime, presentationTime }) => {
    video.requestVideoFrameCallback(next);
    onFrame(captureTime ?? presentationTime ?? now);
  };
  video.requestVideoFrameCallback(next);
}

// Without the callback a picture is new when the video's own clock has moved on.
function watchByClock(video, onFrame) {
  let last = -1;
  const look = () => {
    requestAnimationFrame(look);
    if (video.currentTime === last || video.paused) return;
    last = video.currentTime;
    onFrame(performance.now());
  };
  requestAnimationFrame(look);
}

export class FrameMaker {
  #canvas = document.createElement("canvas");
  #context = this.#canvas.getContext("2d", { alpha: false });
  #step = 0;
  #late = 0;
  #easy = 0;

  /** The picture that was taken last, as a canvas. */
  get picture() {
    return this.#canvas;
  }

  get step() {
    return STEPS[this.#step];
  }

  /** Take the video's present picture; resolves to a JPEG blob. */
  take(video) {
    const { side, quality } = this.step;
    const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale);
    const height = Math.round(video.videoHeight * scale);
    // Setting a size clears and reallocates the canvas, so only when it changes.
    if (this.#canvas.width !== width) this.#canvas.width = width;
    if (this.#canvas.height !== height) this.#canvas.height = height;
    this.#context.drawImage(video, 0, 0, width, height);
    return new Promise((resolve) => this.#canvas.toBlob(resolve, "image/jpeg", quality));
  }

  /** Learn how long a frame took to come back. */
  adapt(delay) {
    this.#late = delay > MOST_DELAY_MS ? this.#late + 1 : 0;
    this.#easy = delay < EASY_DELAY_MS ? this.#easy + 1 : 0;
    if (this.#late >= LATE_BEFORE_COARSER) this.#move(1);
    else if (this.#easy >= EASY_BEFORE_FINER) this.#move(-1);
  }

  #move(by) {
    this.#step = Math.max(0, Math.min(STEPS.length - 1, this.#step + by));
    this.#late = 0;
    this.#easy = 0;
  }
}

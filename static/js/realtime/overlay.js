// The view: the analysed frame with its boxes, or boxes that glide over the live video.

import { chipText, colourOf, drawFace, relativeBox } from "../faces.js";
import { encodeCanvas, fitCanvas, make, resize } from "../dom.js";

const SIDES = ["left", "top", "width", "height"];
// Time constant with which a gliding box approaches its face.
const GLIDE_MS = 60;
// The box of a face that was not seen for this long is removed.
const STALE_MS = 600;
const HELD_ALPHA = 0.5;

export class CanvasOverlay {
  #root;
  #canvas;
  #context;
  #frame = document.createElement("canvas");
  #faces = [];
  #glidingBoxes = new Map();
  #image = null;
  #answeredAt = 0;
  #glidedAt = 0;
  #selected = null;

  /** Lock boxes to the analysed frame; otherwise they glide over the live video. */
  locked = true;
  /** Mirror what is shown; boxes and readings stay as the camera sees them. */
  mirrored = true;

  constructor(root, canvas, onSelect) {
    this.#root = root;
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.redraw()).observe(root);
    canvas.addEventListener("click", (event) => {
      const face = this.#faceAt(event);
      if (face) onSelect(face.track);
    });
    const glide = (now) => {
      requestAnimationFrame(glide);
      if (!this.locked && this.#image) this.#glide(now);
    };
    requestAnimationFrame(glide);
  }

  /** Show an answer with the frame that it is about. */
  show({ faces, image }, frame) {
    this.#faces = faces;
    this.#image = image;
    this.#answeredAt = performance.now();
    resize(this.#frame, frame.width, frame.height);
    this.#frame.getContext("2d").drawImage(frame, 0, 0);
    this.#root.style.setProperty("--ratio", String(frame.width / frame.height));
    if (this.locked) this.redraw();
  }

  select(track) {
    this.#selected = track;
    this.redraw();
  }

  /** Remove the boxes; the frame stays until `clear`. */
  clearBoxes() {
    this.#faces = [];
    this.#glidingBoxes.clear();
    this.redraw();
  }

  clear() {
    this.#image = null;
    this.#frame.width = 0;
    this.clearBoxes();
  }

  redraw() {
    const { width, density } = fitCanvas(this.#canvas);
    this.#root.classList.toggle("mirrored", this.mirrored);
    if (this.locked && this.hasFrame) this.#drawFrame();
    for (const face of this.#faces) {
      const box = this.#shownBox(face);
      if (!box) continue;
      this.#context.globalAlpha = face.detected === false ? HELD_ALPHA : 1;
      // Letters grow on a lecture hall's screen; the selected face's lines are thicker on any.
      this.#draw(this.#context, face, box, density * Math.max(0.85, width / 900));
    }
    this.#context.globalAlpha = 1;
  }

  /** Return a PNG of the last analysed frame with its boxes, never mirrored. */
  snapshot() {
    const canvas = make("canvas", { width: this.#frame.width, height: this.#frame.height });
    const context = canvas.getContext("2d");
    context.drawImage(this.#frame, 0, 0);
    for (const face of this.#faces) this.#draw(context, face, relativeBox(face, this.#image), 1);
    return encodeCanvas(canvas, "image/png");
  }

  get hasFrame() {
    return this.#frame.width > 0;
  }

  #drawFrame() {
    const { width, height } = this.#canvas;
    this.#context.save();
    if (this.mirrored) this.#context.setTransform(-1, 0, 0, 1, width, 0);
    this.#context.drawImage(this.#frame, 0, 0, width, height);
    this.#context.restore();
  }

  #draw(context, face, box, unit) {
    const lineWidth = face.track === this.#selected ? 1.5 * unit : unit;
    drawFace(context, box, chipText(face, face.track), colourOf(face.track - 1), unit, lineWidth);
  }

  #glide(now) {
    const weight = 1 - Math.exp(-(now - this.#glidedAt) / GLIDE_MS);
    this.#glidedAt = now;
    const current = now - this.#answeredAt > STALE_MS ? [] : this.#faces;
    this.#glidingBoxes = new Map(
      current.map((face) => {
        const target = relativeBox(face, this.#image);
        const last = this.#glidingBoxes.get(face.track) ?? target;
        const sides = SIDES.map((side) => [side, last[side] + weight * (target[side] - last[side])]);
        return [face.track, { ...target, ...Object.fromEntries(sides) }];
      }),
    );
    this.redraw();
  }

  /** Return where a face's box is drawn; undefined while an unlocked one has no place yet. */
  #shownBox(face) {
    const box = this.locked ? relativeBox(face, this.#image) : this.#glidingBoxes.get(face.track);
    return box && this.mirrored ? mirror(box) : box;
  }

  #faceAt(event) {
    const bounds = this.#canvas.getBoundingClientRect();
    const x = (event.clientX - bounds.left) / bounds.width;
    const y = (event.clientY - bounds.top) / bounds.height;
    return this.#faces.find((face) => {
      const { left, top, width, height } = this.#shownBox(face) ?? {};
      return x >= left && x <= left + width && y >= top && y <= top + height;
    });
  }
}

const mirror = (box) => ({ ...box, left: 1 - box.left - box.width, roll: -box.roll });

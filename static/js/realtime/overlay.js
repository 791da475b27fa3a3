// The view: the analysed frame with its boxes, or boxes that glide over the live video.

import { chipText, colourOf, drawFace, relativeBox } from "../faces.js";
import { element, encodeCanvas, fitCanvas, make, resize } from "../dom.js";

const SIDES = ["left", "top", "width", "height"];
// Time constant with which a gliding box approaches its face.
const GLIDE_MS = 60;
// The box of a face that was not seen for this long is removed.
const STALE_MS = 600;
const HELD_ALPHA = 0.5;

const root = element("view");
const canvas = element("canvas");
const context = canvas.getContext("2d");
const analysed = make("canvas"); // the frame that the last answer is about
let faces = [];
let glidingBoxes = new Map();
let image = null;
let answeredAt = 0;
let glidedAt = 0;
let selected = null;

/**
 * `locked`: boxes are locked to the analysed frame; otherwise they glide over the live video.
 * `mirrored`: what is shown is; boxes and readings stay as the camera sees them.
 */
export const options = { locked: true, mirrored: true };

/** Call onSelect with the track of a face whose box is clicked. */
export function wireOverlay(onSelect) {
  new ResizeObserver(redraw).observe(root);
  canvas.addEventListener("click", (event) => {
    const face = faceAt(event);
    if (face) onSelect(face.track);
  });
  requestAnimationFrame(glide);
}

/** Show an answer with the frame that it is about. */
export function show(answer, frame) {
  ({ faces, image } = answer);
  answeredAt = performance.now();
  resize(analysed, frame.width, frame.height);
  analysed.getContext("2d").drawImage(frame, 0, 0);
  root.style.setProperty("--ratio", String(frame.width / frame.height));
  if (options.locked) redraw();
}

export function select(track) {
  selected = track;
  redraw();
}

/** Remove the boxes; the frame stays until `clear`. */
export function clearBoxes() {
  faces = [];
  glidingBoxes.clear();
  redraw();
}

export function clear() {
  image = null;
  analysed.width = 0;
  clearBoxes();
}

export function redraw() {
  const { width, density } = fitCanvas(canvas);
  root.classList.toggle("mirrored", options.mirrored);
  if (options.locked && hasFrame()) drawFrame();
  for (const face of faces) {
    const box = shownBox(face);
    if (!box) continue;
    context.globalAlpha = face.detected === false ? HELD_ALPHA : 1;
    // Letters grow on a lecture hall's screen; the selected face's lines are thicker on any.
    draw(context, face, box, density * Math.max(0.85, width / 900));
  }
  context.globalAlpha = 1;
}

/** Return a PNG of the last analysed frame with its boxes, never mirrored. */
export function snapshot() {
  const copy = make("canvas", { width: analysed.width, height: analysed.height });
  copy.getContext("2d").drawImage(analysed, 0, 0);
  for (const face of faces) draw(copy.getContext("2d"), face, relativeBox(face, image), 1);
  return encodeCanvas(copy, "image/png");
}

export const hasFrame = () => analysed.width > 0;

function drawFrame() {
  const { width, height } = canvas;
  context.save();
  if (options.mirrored) context.setTransform(-1, 0, 0, 1, width, 0);
  context.drawImage(analysed, 0, 0, width, height);
  context.restore();
}

function draw(target, face, box, unit) {
  const lineWidth = face.track === selected ? 1.5 * unit : unit;
  drawFace(target, box, chipText(face, face.track), colourOf(face.track - 1), unit, lineWidth);
}

function glide(now) {
  requestAnimationFrame(glide);
  if (options.locked || !image) return;
  const weight = 1 - Math.exp(-(now - glidedAt) / GLIDE_MS);
  glidedAt = now;
  const current = now - answeredAt > STALE_MS ? [] : faces;
  glidingBoxes = new Map(
    current.map((face) => {
      const target = relativeBox(face, image);
      const last = glidingBoxes.get(face.track) ?? target;
      const sides = SIDES.map((side) => [side, last[side] + weight * (target[side] - last[side])]);
      return [face.track, { ...target, ...Object.fromEntries(sides) }];
    }),
  );
  redraw();
}

/** Return where a face's box is drawn; undefined while an unlocked one has no place yet. */
function shownBox(face) {
  const box = options.locked ? relativeBox(face, image) : glidingBoxes.get(face.track);
  return box && options.mirrored ? mirror(box) : box;
}

function faceAt(event) {
  const bounds = canvas.getBoundingClientRect();
  const x = (event.clientX - bounds.left) / bounds.width;
  const y = (event.clientY - bounds.top) / bounds.height;
  return faces.find((face) => {
    const { left, top, width, height } = shownBox(face) ?? {};
    return x >= left && x <= left + width && y >= top && y <= top + height;
  });
}

const mirror = (box) => ({ ...box, left: 1 - box.left - box.width, roll: -box.roll });

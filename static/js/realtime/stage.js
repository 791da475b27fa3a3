// The picture and its boxes: over the very frame that was analysed, or gliding over the live video.

import { chipWords, colourOf, placeOf } from "../faces.js";
import { drawBox, drawChip } from "../downloads.js";

const SIDES = ["left", "top", "width", "height"];
// How fast a gliding box closes in on its face.
const GLIDE_MS = 60;
// A box of a face not seen for this long belongs to nobody.
const STALE_MS = 600;
const HELD_ALPHA = 0.5;

export class Stage {
  #root;
  #canvas;
  #context;
  #frame = document.createElement("canvas");
  #faces = [];
  #places = new Map();
  #image = null;
  #answeredAt = 0;
  #glidedAt = 0;
  #chosen = null;

  /** Lock boxes to the analysed frame, or else let them glide over the live video. */
  locked = true;
  /** Mirror what is shown; boxes and readings stay as the camera sees them. */
  mirrored = true;

  constructor(root, canvas, onChoose) {
    this.#root = root;
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.redraw()).observe(root);
    canvas.addEventListener("click", (event) => {
      const track = this.#trackAt(event);
      if (track !== null) onChoose(track);
    });
    const glide = (now) => {
      requestAnimationFrame(glide);
      if (!this.locked && this.#image) this.#glide(now);
    };
    requestAnimationFrame(glide);
  }

  /** Show an answer with the picture that it is about. */
  show({ faces, image }, picture) {
    this.#faces = faces;
    this.#image = image;
    this.#answeredAt = performance.now();
    if (this.#frame.width !== picture.width) this.#frame.width = picture.width;
    if (this.#frame.height !== picture.height) this.#frame.height = picture.height;
    this.#frame.getContext("2d").drawImage(picture, 0, 0);
    this.#root.style.setProperty("--ratio", String(picture.width / picture.height));
    if (this.locked) this.redraw();
  }

  choose(track) {
    this.#chosen = track;
    this.redraw();
  }

  /** Take the boxes away; the picture stays until the camera does. */
  clearBoxes() {
    this.#faces = [];
    this.#places.clear();
    this.redraw();
  }

  clear() {
    this.#image = null;
    this.#frame.width = 0;
    this.clearBoxes();
  }

  redraw() {
    if (!this.locked) return this.#draw(this.#glided());
    this.#draw(this.#faces.map((face) => ({ face, place: placeOf(face, this.#image) })));
  }

  /** Return a PNG of the last analysed frame with its boxes, never mirrored. */
  snapshot() {
    const canvas = document.createElement("canvas");
    canvas.width = this.#frame.width;
    canvas.height = this.#frame.height;
    const context = canvas.getContext("2d");
    context.drawImage(this.#frame, 0, 0);
    for (const face of this.#faces) this.#drawFace(context, face, placeOf(face, this.#image), 1);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  get hasPicture() {
    return this.#frame.width > 0;
  }

  #draw(drawn) {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * density);
    this.#canvas.height = Math.round(height * density);
    this.#root.classList.toggle("mirrored", this.mirrored);
    if (this.locked && this.hasPicture) this.#drawPicture();
    for (const { face, place } of drawn) {
      this.#context.globalAlpha = face.detected === false ? HELD_ALPHA : 1;
      // Letters grow on a hall's screen; the chosen face's lines are thicker on any.
      const unit = density * Math.max(0.85, width / 900);
      this.#drawFace(this.#context, face, this.mirrored ? mirror(place) : place, unit);
    }
    this.#context.globalAlpha = 1;
  }

  #drawPicture() {
    const { width, height } = this.#canvas;
    this.#context.save();
    if (this.mirrored) this.#context.setTransform(-1, 0, 0, 1, width, 0);
    this.#context.drawImage(this.#frame, 0, 0, width, height);
    this.#context.restore();
  }

  #drawFace(context, face, place, unit) {
    const { width, height } = context.canvas;
    const box = {
      left: place.left * width,
      top: place.top * height,
      width: place.width * width,
      height: place.height * height,
    };
    const colour = colourOf(face.track - 1);
    drawBox(context, box, place.roll, colour, face.track === this.#chosen ? 1.5 * unit : unit);
    drawChip(context, box, [face.track, chipWords(face)].filter(Boolean).join(" · "), colour, unit);
  }

  #glide(now) {
    const weight = 1 - Math.exp(-(now - this.#glidedAt) / GLIDE_MS);
    this.#glidedAt = now;
    const current = now - this.#answeredAt > STALE_MS ? [] : this.#faces;
    const places = new Map();
    for (const face of current) {
      const aim = placeOf(face, this.#image);
      const last = this.#places.get(face.track) ?? aim;
      const place = { roll: aim.roll };
      for (const side of SIDES) place[side] = last[side] + weight * (aim[side] - last[side]);
      places.set(face.track, place);
    }
    this.#places = places;
    this.#draw(this.#glided());
  }

  #glided() {
    return this.#faces
      .filter((face) => this.#places.has(face.track))
      .map((face) => ({ face, place: this.#places.get(face.track) }));
  }

  #trackAt(event) {
    const bounds = this.#canvas.getBoundingClientRect();
    const x = (event.clientX - bounds.left) / bounds.width;
    const y = (event.clientY - bounds.top) / bounds.height;
    const hit = this.#faces.find((face) => {
      const place = this.mirrored ? mirror(placeOf(face, this.#image)) : placeOf(face, this.#image);
      return (
        x >= place.left && x <= place.left + place.width && y >= place.top && y <= place.top + place.height
      );
    });
    return hit?.track ?? null;
  }
}

function mirror(place) {
  return { ...place, left: 1 - place.left - place.width, roll: -place.roll };
}

// Track numbers that last: each connection counts from 1, and a frame read twice joins the two counts.

import { compareBoxes } from "../faces.js";

// The same picture gives the same box, up to the tracker's own smoothing.
const SAME_SIDES = 0.25;

export class Numbering {
  #known = new Map();
  #most = 0;

  /** Begin a connection; `faces` are those of the frame that is read again, with their lasting numbers. */
  restart(again, faces) {
    this.#known.clear();
    for (const { track, box } of again) {
      const same = faces.find((face) => compareBoxes(face.box, box).sides < SAME_SIDES);
      if (same) this.#known.set(track, same.track);
    }
  }

  /** Return faces with lasting numbers. */
  number(faces) {
    return faces.map((face) => {
      if (!this.#known.has(face.track)) this.#known.set(face.track, this.#most + 1);
      const track = this.#known.get(face.track);
      this.#most = Math.max(this.#most, track);
      return { ...face, track };
    });
  }
}

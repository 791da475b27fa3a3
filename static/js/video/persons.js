// Persons: tracks that somebody joins, divides and names by hand. Faces are never compared.

import { compareBoxes } from "../faces.js";

// A face after a cut may be one before it where its centre moved by less than half of its side, and
// its size changed by less than this factor.
const FARTHEST_SIDES = 0.5;
const SIZE_FACTOR = 1.4;

export class Persons {
  #all = new Map();
  // For each track its persons: each from a time until the next one's.
  #pieces = new Map();
  #next = 1;

  get all() {
    return [...this.#all.values()];
  }

  get(id) {
    return this.#all.get(id);
  }

  /** Return the person that a track is at a time. */
  of(track, time) {
    return this.#all.get(this.#pieces.get(track)?.findLast(({ from }) => from <= time)?.person);
  }

  /** Make a person of a new track. */
  add(track) {
    if (!this.#pieces.has(track)) this.#pieces.set(track, [{ from: -Infinity, person: this.#create() }]);
  }

  /** Make two persons one; the second's name and hiding are lost. */
  merge(id, other) {
    for (const pieces of this.#pieces.values()) {
      for (const piece of pieces) if (piece.person === other) piece.person = id;
    }
    this.#all.delete(other);
  }

  /** Make another person of what a person is from a time on; return its id. */
  split(id, time) {
    const created = this.#create();
    for (const [track, pieces] of this.#pieces) {
      const parts = pieces.flatMap((piece, index) => {
        const until = pieces[index + 1]?.from ?? Infinity;
        if (piece.person !== id || until <= time) return [piece];
        if (piece.from >= time) return [{ ...piece, person: created }];
        return [piece, { from: time, person: created }];
      });
      this.#pieces.set(track, parts);
    }
    return created;
  }

  #create() {
    const id = this.#next++;
    this.#all.set(id, { id, name: "", hidden: false });
    return id;
  }
}

/** Return whether two persons are seen in one frame, so that they can't be one. */
export function meet(one, other) {
  const times = new Set(one.map(({ time }) => time));
  return other.some(({ time }) => times.has(time));
}

/**
 * Suggest persons that may be one that left before they came, by place and size.
 * @param series maps each person's id to the samples that see it
 * @returns pairs of ids, `person` the earlier one and `other` the one that came at `time`
 */
export function suggestPairs(series) {
  const seen = [...series].filter(([, samples]) => samples.length);
  return seen.flatMap(([other, [first]]) => {
    const before = seen
      .map(([person, samples]) => ({ person, other, time: first.time, last: samples.at(-1) }))
      .filter(({ last, time }) => last.time < time)
      .map(({ last, ...pair }) => ({ ...pair, ...compareBoxes(last.face.box, first.face.box) }))
      .filter(({ sides, factor }) => sides <= FARTHEST_SIDES && factor <= SIZE_FACTOR);
    return before.sort((one, another) => one.sides - another.sides).slice(0, 1);
  });
}

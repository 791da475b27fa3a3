// The cards beside the video: one for each track, updated from frame to frame.

import { make } from "../dom.js";
import { createCard, tasksOf, updateBars, updateSummary } from "../face-card.js";
import { taskName } from "../language.js";

// Numbers that change thirty times a second can't be read.
const REFRESH_MS = 100;

export class FaceCards {
  #root;
  #onSelect;
  #cards = new Map();
  #selected = null;
  #shownAt = 0;

  constructor(root, onSelect) {
    this.#root = root;
    this.#onSelect = onSelect;
  }

  show(faces, now = performance.now()) {
    const known = faces.length === this.#cards.size && faces.every((face) => this.#cards.has(face.track));
    if (known && now - this.#shownAt < REFRESH_MS) return;
    this.#shownAt = now;
    const present = new Set(faces.map((face) => face.track));
    for (const track of this.#cards.keys()) if (!present.has(track)) this.#remove(track);
    for (const face of faces) {
      const card = this.#cards.get(face.track) ?? this.#add(face.track);
      updateSummary(card, face, face.track);
      for (const name of tasksOf(face)) updateBars(card.querySelector(`.bars-of-${name}`) ?? addBars(card, name), face[name]);
    }
    if (!this.#cards.has(this.#selected) && faces.length) this.#onSelect(faces[0].track);
  }

  clear() {
    for (const track of this.#cards.keys()) this.#remove(track);
    this.#selected = null;
  }

  select(track) {
    this.#selected = track;
    this.#cards.forEach((card, at) => mark(card, at === track));
  }

  #add(track) {
    const card = createCard(track, () => this.#onSelect(track));
    mark(card, track === this.#selected);
    this.#cards.set(track, card);
    this.#root.append(card);
    return card;
  }

  #remove(track) {
    this.#cards.get(track).remove();
    this.#cards.delete(track);
  }
}

const mark = (card, selected) => card.querySelector("button").setAttribute("aria-pressed", String(selected));

function addBars(card, task) {
  const list = make("ul", { className: `bars bars-of-${task}`, ariaLabel: taskName(task) });
  [...card.querySelectorAll(".bars")].at(-1).after(list);
  return list;
}

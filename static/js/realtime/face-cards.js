// The cards beside the picture: one for each face, kept and brought up to date from frame to frame.

import { genderLine } from "../cards.js";
import { colourOf, expressionProbability, expressionWord, glyphOf } from "../faces.js";
import { className, formatProbability, text } from "../language.js";

// Figures that change thirty times a second can't be read.
const REFRESH_MS = 100;
const READINGS = ["expression", "gender"];

export class FaceCards {
  #root;
  #onChoose;
  #cards = new Map();
  #chosen = null;
  #shownAt = 0;

  constructor(root, onChoose) {
    this.#root = root;
    this.#onChoose = onChoose;
  }

  show(faces, now = performance.now()) {
    const known = faces.length === this.#cards.size && faces.every((face) => this.#cards.has(face.track));
    if (known && now - this.#shownAt < REFRESH_MS) return;
    this.#shownAt = now;
    const present = new Set(faces.map((face) => face.track));
    for (const [track, card] of this.#cards) {
      if (present.has(track)) continue;
      card.remove();
      this.#cards.delete(track);
    }
    for (const face of faces) this.#update(this.#card(face.track), face);
    if (!this.#cards.has(this.#chosen) && faces.length) this.#onChoose(faces[0].track);
  }

  clear() {
    this.#cards.forEach((card) => card.remove());
    this.#cards.clear();
    this.#chosen = null;
  }

  choose(track) {
    this.#chosen = track;
    this.#cards.forEach((card, at) => mark(card, at === track));
  }

  #card(track) {
    const known = this.#cards.get(track);
    if (known) return known;
    const card = document.getElementById("person").content.firstElementChild.cloneNode(true);
    card.style.setProperty("--tone", colourOf(track - 1));
    card.querySelector(".face-number").textContent = String(track);
    card.querySelector("button").addEventListener("click", () => this.#onChoose(track));
    mark(card, track === this.#chosen);
    this.#cards.set(track, card);
    this.#root.append(card);
    return card;
  }

  #update(card, face) {
    write(card.querySelector(".face-label"), expressionWord(face) || text("face", { number: face.track }));
    write(card.querySelector(".face-sublabel"), genderLine(face));
    write(card.querySelector(".face-probability"), expressionProbability(face));
    card.querySelector("use").setAttribute("href", `#glyph-${glyphOf(face)}`);
    for (const name of READINGS) if (face[name]) updateBars(card.querySelector(`.bars-of-${name}`), face[name]);
  }
}

function mark(card, chosen) {
  card.toggleAttribute("data-selected", chosen);
  card.querySelector("button").setAttribute("aria-pressed", String(chosen));
}

function updateBars(list, reading) {
  const names = Object.keys(reading.probabilities);
  if (list.children.length !== names.length) list.replaceChildren(...names.map(bar));
  names.forEach((name, index) => {
    const row = list.children[index];
    row.classList.toggle("answered", reading.confident && name === reading.label);
    write(row.querySelector(".bar-value"), formatProbability(reading.probabilities[name]));
    row.querySelector(".bar-fill").style.setProperty("width", `${reading.probabilities[name] * 100}%`);
  });
}

function bar(name) {
  const row = document.getElementById("bar").content.firstElementChild.cloneNode(true);
  row.querySelector(".bar-name").textContent = className(name);
  return row;
}

function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

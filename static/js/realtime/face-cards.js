// The cards beside the video: one for each track, updated from frame to frame.

import { element, make } from "../dom.js";
import { createCard, tasksOf, updateBars, updateSummary } from "../face-card.js";
import { taskName } from "../language.js";

// Numbers that change thirty times a second can't be read.
const REFRESH_MS = 100;

const cards = new Map(); // by the faces' tracks
let selected = null;
let shownAt = 0;

/** Show faces; `onSelect` is called with the track of one that is chosen. */
export function show(faces, onSelect, now = performance.now()) {
  const known = faces.length === cards.size && faces.every((face) => cards.has(face.track));
  if (known && now - shownAt < REFRESH_MS) return;
  shownAt = now;
  const present = new Set(faces.map((face) => face.track));
  for (const track of cards.keys()) if (!present.has(track)) remove(track);
  for (const face of faces) {
    const card = cards.get(face.track) ?? add(face.track, onSelect);
    updateSummary(card, face, face.track);
    for (const name of tasksOf(face)) updateBars(card.querySelector(`.bars-of-${name}`) ?? addBars(card, name), face[name]);
  }
  if (!cards.has(selected) && faces.length) onSelect(faces[0].track);
}

export function clear() {
  for (const track of cards.keys()) remove(track);
  selected = null;
}

export function select(track) {
  selected = track;
  cards.forEach((card, at) => mark(card, at === track));
}

function add(track, onSelect) {
  const card = createCard(track, () => onSelect(track));
  mark(card, track === selected);
  cards.set(track, card);
  element("face-cards").append(card);
  return card;
}

function remove(track) {
  cards.get(track).remove();
  cards.delete(track);
}

const mark = (card, selected) => card.querySelector("button").setAttribute("aria-pressed", String(selected));

function addBars(card, task) {
  const list = make("ul", { className: `bars bars-of-${task}`, ariaLabel: taskName(task) });
  [...card.querySelectorAll(".bars")].at(-1).after(list);
  return list;
}

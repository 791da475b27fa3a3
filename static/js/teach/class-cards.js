// A card for each class: its name, the ways samples come in, and their thumbnails.

import { clone, element, make, write } from "../dom.js";
import { formatNumber, text } from "../language.js";
import { droppedFiles, onlyPhotos, wireChooser } from "../photo-files.js";

// So many pictures enter the page in one frame without a stutter.
const AT_ONCE = 40;

const list = element("classes-taught");
const cards = new Map(); // by the classes
let waiting = []; // samples that aren't in the page yet

/**
 * Add a card for a class and return it.
 * @param on.rename, on.removeClass called with a class (and its name); on.photos with a class and
 *   files; on.press and on.release while the button is held
 */
export function addClass(kind, on) {
  const card = clone("class-card");
  const part = (name) => card.querySelector(`.${name}`);
  part("class-name").value = kind.name;
  part("class-name").addEventListener("input", ({ target }) => on.rename(kind, target.value));
  part("class-remove").addEventListener("click", () => on.removeClass(kind));
  wireChooser(part("add-photos"), part("photos"), (files) => on.photos(kind, files));
  wireChooser(part("add-folder"), part("folder"), (files) => on.photos(kind, onlyPhotos(files)));
  wireHolding(part("hold"), () => on.press(kind), on.release);
  wireDrop(card, (files) => on.photos(kind, files));
  cards.set(kind, card);
  list.append(card);
  return card;
}

export function removeClass(kind) {
  cards.get(kind).remove();
  cards.delete(kind);
}

/** Add a sample to its class's card; `onRemove` is called with it. */
export function addSample(sample, onRemove) {
  if (!waiting.length) requestAnimationFrame(show);
  waiting.push([sample, onRemove]);
}

export function clear() {
  list.replaceChildren();
  cards.clear();
  waiting = [];
}

/** Write how many samples a class has, and what is wrong with its name. */
export function update(kind, { count, recordings, note }) {
  const card = cards.get(kind);
  const words = text("counted", { count: formatNumber(count), recordings: formatNumber(recordings) });
  write(card.querySelector(".class-count"), count ? words : text("no_samples"));
  write(card.querySelector(".class-note"), note);
  card.querySelector(".class-name").setAttribute("aria-invalid", String(Boolean(note)));
}

function show() {
  const parts = new Map();
  for (const [sample, onRemove] of waiting.splice(0, AT_ONCE)) {
    const card = cards.get(sample.kind);
    if (!card || sample.removed) continue;
    if (!parts.has(card)) parts.set(card, new DocumentFragment());
    parts.get(card).append(make("li", {}, thumbnail(sample, onRemove)));
  }
  parts.forEach((items, card) => card.querySelector(".samples").append(items));
  if (waiting.length) requestAnimationFrame(show);
}

function thumbnail(sample, onRemove) {
  const image = make("img", { src: sample.thumbnail, alt: "", width: 48, height: 48, decoding: "async" });
  const words = text("remove_sample", { number: sample.id });
  const button = make("button", { type: "button", className: "sample", ariaLabel: words, title: words }, image);
  button.addEventListener("click", () => {
    const next = button.parentElement.nextElementSibling ?? button.parentElement.previousElementSibling;
    button.parentElement.remove();
    next?.firstElementChild.focus();
    onRemove(sample);
  });
  return button;
}

/** Call the functions while a button is held, by a pointer or by a key. */
function wireHolding(button, onPress, onRelease) {
  const isKey = ({ key }) => key === " " || key === "Enter";
  let held = false;
  const press = () => {
    held = true;
    onPress();
  };
  // A button that wasn't held loses the focus to the one that is.
  const end = () => {
    if (held) onRelease();
    held = false;
  };
  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    press();
  });
  for (const name of ["lostpointercapture", "blur"]) button.addEventListener(name, end);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("keydown", (event) => {
    if (!isKey(event)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  button.addEventListener("keyup", (event) => isKey(event) && end());
}

/** Call onFiles for photos dropped on an element. */
export function wireDrop(target, onFiles) {
  const mark = (event, over) => {
    event.preventDefault();
    target.classList.toggle("dropped-on", over);
  };
  target.addEventListener("dragover", (event) => mark(event, true));
  target.addEventListener("dragleave", (event) => mark(event, false));
  target.addEventListener("drop", async (event) => {
    mark(event, false);
    onFiles(await droppedFiles(event.dataTransfer.items));
  });
}

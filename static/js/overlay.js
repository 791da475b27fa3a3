// The boxes over the photo: one real button for each face, so that a keyboard reaches them all.

import { chipWords, colourOf, expressionWord, placeOf } from "./faces.js";
import { text } from "./language.js";

// Chips with words would hide the faces of a crowd; those show their number until selected.
const MOST_FACES_WITH_WORDS = 8;
const NARROWEST_WITH_WORDS = 44;
const CHIP_HEIGHT = 30;
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export class Overlay {
  #root;
  #onSelect;
  #boxes = [];
  #places = [];

  /** @param onSelect called with a face's index when its box is chosen */
  constructor(root, onSelect) {
    this.#root = root;
    this.#onSelect = onSelect;
    root.addEventListener("keydown", (event) => this.#move(event));
    new ResizeObserver(() => this.#arrangeChips()).observe(root);
  }

  clear() {
    this.#root.replaceChildren();
    this.#boxes = [];
    this.#places = [];
  }

  draw(faces, image) {
    this.#places = faces.map((face) => placeOf(face, image));
    this.#boxes = faces.map((face, index) => this.#box(face, index));
    this.#root.replaceChildren(...this.#boxes);
    this.#root.classList.toggle("crowded", faces.length > MOST_FACES_WITH_WORDS);
    this.#arrangeChips();
  }

  /** Mark a box as selected; it becomes the one that Tab reaches. */
  select(index) {
    this.#boxes.forEach((box, at) => {
      box.setAttribute("aria-pressed", String(at === index));
      box.tabIndex = at === index ? 0 : -1;
    });
    this.#arrangeChips();
  }

  focus(index) {
    this.#boxes[index]?.focus({ preventScroll: true });
    this.#boxes[index]?.scrollIntoView({ block: "nearest" });
  }

  #box(face, index) {
    const place = this.#places[index];
    const box = document.createElement("button");
    box.type = "button";
    box.className = "face-box";
    box.tabIndex = index === 0 ? 0 : -1;
    box.setAttribute("aria-pressed", "false");
    box.setAttribute(
      "aria-label",
      text("box_name", { number: index + 1, expression: expressionWord(face) || "–" }),
    );
    box.style.setProperty("--tone", colourOf(index));
    for (const side of ["left", "top", "width", "height"]) {
      box.style.setProperty(side, `${place[side] * 100}%`);
    }
    // A small face inside a large one's box must stay within reach of the pointer.
    box.style.setProperty("z-index", String(1 + Math.round((1 - place.width * place.height) * 1000)));
    box.append(outline(place.roll), chip(face, index));
    box.addEventListener("click", () => this.#onSelect(index));
    return box;
  }

  #move(event) {
    const at = this.#boxes.indexOf(document.activeElement);
    if (at < 0) return;
    const last = this.#boxes.length - 1;
    const edges = { Home: 0, End: last };
    const next = edges[event.key] ?? Math.min(last, Math.max(0, at + (STEPS[event.key] ?? 0)));
    if (!(event.key in edges) && !(event.key in STEPS)) return;
    event.preventDefault();
    this.#onSelect(next);
    this.focus(next);
  }

  // A chip stands above its box where the photo has room, else below, else inside.
  #arrangeChips() {
    const { width, height } = this.#root.getBoundingClientRect();
    this.#boxes.forEach((box, index) => {
      const place = this.#places[index];
      const above = place.top * height >= CHIP_HEIGHT;
      const below = (1 - place.top - place.height) * height >= CHIP_HEIGHT;
      box.dataset.chip = above ? "above" : below ? "below" : "inside";
      box.dataset.align = place.left > 0.6 ? "end" : "start";
      box.classList.toggle("narrow", place.width * width < NARROWEST_WITH_WORDS);
    });
    this.#shortenOverlappingChips();
  }

  // Where two chips meet, the selected face keeps its words, then the one with the lower number.
  #shortenOverlappingChips() {
    const selectedFirst = [...this.#boxes].sort((a, b) => isSelected(b) - isSelected(a));
    const kept = [];
    for (const box of selectedFirst) {
      const chip = box.querySelector(".chip").getBoundingClientRect();
      if (kept.some((other) => overlap(chip, other))) box.classList.add("narrow");
      else kept.push(chip);
    }
  }
}

function isSelected(box) {
  return box.getAttribute("aria-pressed") === "true";
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

function outline(roll) {
  const span = document.createElement("span");
  span.className = "face-outline";
  if (roll) span.style.setProperty("transform", `rotate(${roll}deg)`);
  return span;
}

function chip(face, index) {
  const span = document.createElement("span");
  span.className = "chip";
  const words = document.createElement("span");
  words.className = "chip-words";
  const said = chipWords(face);
  words.textContent = said && ` · ${said}`;
  span.append(String(index + 1), words);
  return span;
}

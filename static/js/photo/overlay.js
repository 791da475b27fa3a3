// The boxes over the photo: one button for each face, so that a keyboard reaches them all.

import { make } from "../dom.js";
import { chipText, colourOf, faceName, relativeBox } from "../faces.js";

// Chips with words hide the faces of a crowd; those show their number until selected.
const MOST_FACES_WITH_WORDS = 8;
const NARROWEST_WITH_WORDS = 44;
const CHIP_HEIGHT = 30;
const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export class Overlay {
  #root;
  #onSelect;
  #buttons = [];
  #boxes = [];

  /** @param onSelect called with a face's index when its box is chosen */
  constructor(root, onSelect) {
    this.#root = root;
    this.#onSelect = onSelect;
    root.addEventListener("keydown", (event) => this.#move(event));
    new ResizeObserver(() => this.#arrangeChips()).observe(root);
  }

  show(faces, image) {
    this.#boxes = faces.map((face) => relativeBox(face, image));
    this.#buttons = faces.map((face, index) => this.#button(face, index));
    this.#root.replaceChildren(...this.#buttons);
    this.#root.classList.toggle("crowded", faces.length > MOST_FACES_WITH_WORDS);
    this.#arrangeChips();
  }

  /** Mark a box as selected; it becomes the one that Tab reaches. */
  select(index) {
    this.#buttons.forEach((button, at) => {
      button.setAttribute("aria-pressed", String(at === index));
      button.tabIndex = at === index ? 0 : -1;
    });
    this.#arrangeChips();
  }

  focus(index) {
    this.#buttons[index]?.focus({ preventScroll: true });
    this.#buttons[index]?.scrollIntoView({ block: "nearest" });
  }

  #button(face, index) {
    const box = this.#boxes[index];
    const outline = make("span", { className: "face-outline" });
    const number = String(index + 1);
    const words = make("span", { className: "chip-words" }, chipText(face, number).slice(number.length));
    const chip = make("span", { className: "chip" }, number, words);
    const button = make("button", {
      type: "button",
      className: "face-box",
      tabIndex: index === 0 ? 0 : -1,
      ariaPressed: "false",
      ariaLabel: faceName(face, index + 1),
    }, outline, chip);
    button.style.setProperty("--tone", colourOf(index));
    for (const side of ["left", "top", "width", "height"]) button.style.setProperty(side, `${box[side] * 100}%`);
    // A small face inside a large one's box must stay within reach of the pointer.
    button.style.setProperty("z-index", String(1 + Math.round((1 - box.width * box.height) * 1000)));
    if (box.roll) outline.style.setProperty("transform", `rotate(${box.roll}deg)`);
    button.addEventListener("click", () => this.#onSelect(index));
    return button;
  }

  #move(event) {
    const at = this.#buttons.indexOf(document.activeElement);
    const last = this.#buttons.length - 1;
    const edges = { Home: 0, End: last };
    if (at < 0 || !(event.key in edges || event.key in STEPS)) return;
    const next = edges[event.key] ?? Math.min(last, Math.max(0, at + STEPS[event.key]));
    event.preventDefault();
    this.#onSelect(next);
    this.focus(next);
  }

  // A chip stands above its box where the photo has room, else below, else inside.
  #arrangeChips() {
    const { width, height } = this.#root.getBoundingClientRect();
    this.#buttons.forEach((button, index) => {
      const box = this.#boxes[index];
      const above = box.top * height >= CHIP_HEIGHT;
      const below = (1 - box.top - box.height) * height >= CHIP_HEIGHT;
      button.dataset.chip = above ? "above" : below ? "below" : "inside";
      button.dataset.align = box.left > 0.6 ? "end" : "start";
      button.classList.toggle("narrow", box.width * width < NARROWEST_WITH_WORDS);
    });
    this.#shortenOverlappingChips();
  }

  // Where two chips overlap, the selected face keeps its words, then the one with the lower number.
  #shortenOverlappingChips() {
    const isSelected = (button) => button.getAttribute("aria-pressed") === "true";
    const kept = [];
    for (const button of this.#buttons.toSorted((a, b) => isSelected(b) - isSelected(a))) {
      const chip = button.querySelector(".chip").getBoundingClientRect();
      if (kept.some((other) => overlap(chip, other))) button.classList.add("narrow");
      else kept.push(chip);
    }
  }
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

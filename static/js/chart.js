// What line charts share: a canvas at the screen's density, the theme's colours, and a legend.

import { clone } from "./dom.js";
import { className } from "./language.js";

const FONT_PIXELS = 12;
// Lines differ in their dashes too, not only in their colour.
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [], [7, 4], [2, 3]];

export const dashOf = (index) => DASHES[index % DASHES.length];

/** Draw again whenever the canvas changes its size or the page its theme. */
export function redrawOnChange(canvas, draw) {
  new ResizeObserver(() => draw()).observe(canvas);
  new MutationObserver(() => draw()).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
}

/** Clear a canvas; return its context, its size in CSS pixels, its font and the theme's colours. */
export function prepareCanvas(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  const context = canvas.getContext("2d");
  context.scale(density, density);
  // The canvas's own style resolves a variable to the colour of the current theme.
  const style = getComputedStyle(canvas);
  const colour = (name) => {
    canvas.style.setProperty("color", `var(${name})`);
    return style.color;
  };
  context.font = `${FONT_PIXELS}px ${style.fontFamily}`;
  return { context, width, height, colour };
}

/** A button for each class, which hides and shows its line. */
export class Legend {
  #list;
  #onChange;
  #hidden = new Set();

  classes = [];

  constructor(list, onChange) {
    this.#list = list;
    this.#onChange = onChange;
  }

  /** Name the classes, once. */
  show(names) {
    if (this.classes.length) return;
    this.classes = names;
    this.#list.replaceChildren(...names.map((name, index) => this.#item(name, index)));
  }

  isHidden(name) {
    return this.#hidden.has(name);
  }

  #item(name, index) {
    const item = clone("timeline-class");
    const button = item.querySelector("button");
    const line = item.querySelector("path");
    line.style.setProperty("stroke", `var(--line-${index})`);
    line.setAttribute("stroke-dasharray", dashOf(index).join(" "));
    line.closest("svg").after(className(name));
    button.addEventListener("click", () => {
      const shown = this.#hidden.delete(name);
      if (!shown) this.#hidden.add(name);
      button.setAttribute("aria-pressed", String(shown));
      this.#onChange();
    });
    return item;
  }
}

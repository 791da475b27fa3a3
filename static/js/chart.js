// What line charts share: a canvas at the screen's density, the theme's colours, and a legend.

import { clone, fitCanvas } from "./dom.js";
import { className, text } from "./language.js";

const FONT_PIXELS = 12;
// Lines differ in their dashes too, not only in their colour.
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [], [7, 4], [2, 3]];

export const dashOf = (index) => DASHES[index % DASHES.length];

/** Draw again whenever the canvas changes its size or the page its theme. */
export function redrawOnChange(canvas, draw) {
  new ResizeObserver(() => draw()).observe(canvas);
  new MutationObserver(() => draw()).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
}

/**
 * Clear a canvas; return its context with the page's font, its size in CSS pixels, the theme's
 * colours, and the area within a margin: its `left` and `right`, and the place of shares `x` from
 * the left and `y` from below.
 */
export function prepareCanvas(canvas, margin) {
  const { width, height, density } = fitCanvas(canvas);
  const context = canvas.getContext("2d");
  context.scale(density, density);
  // The canvas's own style resolves a variable to the colour of the current theme.
  const style = getComputedStyle(canvas);
  const colour = (name) => {
    canvas.style.setProperty("color", `var(${name})`);
    return style.color;
  };
  context.font = `${FONT_PIXELS}px ${style.fontFamily}`;
  const [left, right, bottom] = [margin.left, width - margin.right, height - margin.bottom];
  const x = (share) => left + share * (right - left);
  const y = (share) => bottom - share * (bottom - margin.top);
  return { context, width, height, colour, left, right, x, y };
}

/** Draw the lines of no, half and the whole share, with their words before them. */
export function drawShares({ context, colour, left, right, y }, wordsOf = (share) => text("percent", { count: share * 100 })) {
  context.fillStyle = colour("--ink-soft");
  context.strokeStyle = colour("--line");
  context.lineWidth = 1;
  context.textAlign = "end";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    strokeLine(context, [left, y(share)], [right, y(share)]);
    context.fillText(wordsOf(share), left - 8, y(share));
  }
}

/** Draw a class's line through samples, each at its [x, y]; it breaks where one doesn't follow the other. */
export function drawCurve({ context, colour }, index, samples, placeOf, follows) {
  context.strokeStyle = colour(`--line-${index}`);
  context.lineWidth = 2;
  context.lineCap = "round";
  context.setLineDash(dashOf(index));
  context.beginPath();
  samples.forEach((sample, at) => {
    if (!at || !follows(samples[at - 1], sample)) context.moveTo(...placeOf(sample));
    context.lineTo(...placeOf(sample));
  });
  context.stroke();
  context.setLineDash([]);
}

/** Draw a line through points, each [x, y]. */
export function strokeLine(context, ...points) {
  context.beginPath();
  for (const point of points) context.lineTo(...point);
  context.stroke();
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

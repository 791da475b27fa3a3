// The last sixty seconds of the selected face: a line for each class, each of which can be hidden.

import { clone, write } from "../dom.js";
import { predictionWord } from "../faces.js";
import { className, formatProbability, text } from "../language.js";

const SPAN_MS = 60_000;
const REDRAW_MS = 200;
// No line is drawn across a gap this long: a pause, or a face that was away.
const GAP_MS = 1000;
const FONT_PIXELS = 12;
const MARGIN = { left: 44, right: 12, top: 10, bottom: 24 };
// Lines differ in their dashes too, not only in their colour.
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [], [7, 4], [2, 3]];

export class Timeline {
  #canvas;
  #legend;
  #summary;
  #points = new Map();
  #selected = null;
  #classes = [];
  #hidden = new Set();
  #drawnAt = 0;

  constructor(canvas, legend, summary) {
    this.#canvas = canvas;
    this.#legend = legend;
    this.#summary = summary;
    new ResizeObserver(() => this.draw()).observe(canvas);
    new MutationObserver(() => this.draw()).observe(document.documentElement, {
      attributeFilter: ["data-bs-theme"],
    });
  }

  add(faces, now = performance.now()) {
    for (const { track, detected, expression } of faces) {
      if (!expression || detected === false) continue;
      if (!this.#classes.length) this.#setClasses(Object.keys(expression.probabilities));
      if (!this.#points.has(track)) this.#points.set(track, []);
      this.#points.get(track).push({ at: now, ...expression });
    }
    this.#forget(now);
    if (now - this.#drawnAt >= REDRAW_MS) this.draw(now);
  }

  select(track) {
    this.#selected = track;
    this.draw();
  }

  clear() {
    this.#points.clear();
    this.#selected = null;
    this.draw();
  }

  draw(now = performance.now()) {
    this.#drawnAt = now;
    const area = this.#prepare();
    drawGrid(area);
    const points = this.#points.get(this.#selected) ?? [];
    this.#classes.forEach((name, index) => {
      if (!this.#hidden.has(name)) drawLine(area, points, name, index, now);
    });
  }

  /** Write what the lines show in words, for screen readers. */
  summarize() {
    const points = this.#points.get(this.#selected) ?? [];
    if (!points.length) return write(this.#summary, text("timeline.empty"));
    const counts = new Map();
    for (const point of points) {
      const word = predictionWord(point);
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    const [expression, count] = [...counts].sort((a, b) => b[1] - a[1])[0];
    const share = formatProbability(count / points.length);
    write(this.#summary, text("timeline.summary", { number: this.#selected, expression, share }));
  }

  #forget(now) {
    for (const [track, points] of this.#points) {
      const first = points.findIndex(({ at }) => now - at <= SPAN_MS);
      if (first < 0) this.#points.delete(track);
      else if (first > 0) points.splice(0, first);
    }
  }

  #setClasses(names) {
    this.#classes = names;
    this.#legend.replaceChildren(...names.map((name, index) => this.#legendItem(name, index)));
  }

  #legendItem(name, index) {
    const item = clone("timeline-class");
    const button = item.querySelector("button");
    const line = item.querySelector("path");
    line.style.setProperty("stroke", `var(--line-${index})`);
    line.setAttribute("stroke-dasharray", DASHES[index % DASHES.length].join(" "));
    button.append(className(name));
    button.addEventListener("click", () => {
      const shown = this.#hidden.delete(name);
      if (!shown) this.#hidden.add(name);
      button.setAttribute("aria-pressed", String(shown));
      this.draw();
    });
    return item;
  }

  #prepare() {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * density);
    this.#canvas.height = Math.round(height * density);
    const context = this.#canvas.getContext("2d");
    context.scale(density, density);
    // The canvas's own style resolves a variable to the colour of the current theme.
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => {
      this.#canvas.style.setProperty("color", `var(${name})`);
      return style.color;
    };
    return { context, width, height, colour, font: `${FONT_PIXELS}px ${style.fontFamily}` };
  }
}

function drawGrid({ context, width, height, colour, font }) {
  context.font = font;
  context.fillStyle = colour("--ink-soft");
  context.strokeStyle = colour("--line");
  context.lineWidth = 1;
  context.textAlign = "end";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const y = yOf(share, height);
    context.beginPath();
    context.moveTo(MARGIN.left, y);
    context.lineTo(width - MARGIN.right, y);
    context.stroke();
    context.fillText(text("timeline.percent", { count: share * 100 }), MARGIN.left - 8, y);
  }
  context.textBaseline = "alphabetic";
  for (const seconds of [60, 30, 0]) {
    const x = xOf(seconds * 1000, width);
    context.textAlign = seconds === 60 ? "start" : seconds ? "center" : "end";
    const words = seconds ? text("timeline.ago", { count: seconds }) : text("timeline.now");
    context.fillText(words, x, height - 6);
  }
}

function drawLine({ context, width, height, colour }, points, name, index, now) {
  context.strokeStyle = colour(`--line-${index}`);
  context.lineWidth = 2;
  context.setLineDash(DASHES[index % DASHES.length]);
  context.beginPath();
  let last = -Infinity;
  for (const { at, probabilities } of points) {
    const x = xOf(now - at, width);
    const y = yOf(probabilities[name], height);
    if (at - last > GAP_MS) context.moveTo(x, y);
    else context.lineTo(x, y);
    last = at;
  }
  context.stroke();
  context.setLineDash([]);
}

function xOf(age, width) {
  return width - MARGIN.right - (age / SPAN_MS) * (width - MARGIN.left - MARGIN.right);
}

function yOf(share, height) {
  return height - MARGIN.bottom - share * (height - MARGIN.top - MARGIN.bottom);
}

// The last sixty seconds of the chosen face: a line for each class, each of which can be turned off.

import { className, formatProbability, text } from "../language.js";

const SPAN_MS = 60_000;
const REDRAW_MS = 200;
// A gap this long is a pause or a face that was away: no line is drawn across it.
const GAP_MS = 1000;
const FONT_PIXELS = 12;
const MARGIN = { left: 44, right: 12, top: 10, bottom: 24 };
// Colour is never the only difference: the lines are dashed differently too.
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [], [7, 4], [2, 3]];

export class Timeline {
  #canvas;
  #legend;
  #summary;
  #points = new Map();
  #chosen = null;
  #classes = [];
  #off = new Set();
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
      this.#learnClasses(Object.keys(expression.probabilities));
      if (!this.#points.has(track)) this.#points.set(track, []);
      this.#points.get(track).push({ at: now, ...expression });
    }
    this.#forget(now);
    if (now - this.#drawnAt >= REDRAW_MS) this.draw(now);
  }

  choose(track) {
    this.#chosen = track;
    this.draw();
  }

  clear() {
    this.#points.clear();
    this.#chosen = null;
    this.draw();
  }

  draw(now = performance.now()) {
    this.#drawnAt = now;
    const area = this.#prepare();
    drawGrid(area);
    const points = this.#points.get(this.#chosen) ?? [];
    this.#classes.forEach((name, index) => {
      if (!this.#off.has(name)) drawLine(area, points, name, index, now);
    });
  }

  /** Say in words what the lines show, for those who don't see them. */
  summarize() {
    const points = this.#points.get(this.#chosen) ?? [];
    if (!points.length) return this.#say(text("timeline.empty"));
    const counts = new Map();
    for (const { label, confident } of points) {
      const name = confident ? className(label) : text("unsure");
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const [name, count] = [...counts].sort((a, b) => b[1] - a[1])[0];
    this.#say(
      text("timeline.summary", {
        number: this.#chosen,
        expression: name,
        share: formatProbability(count / points.length),
      }),
    );
  }

  #say(sentence) {
    if (this.#summary.textContent !== sentence) this.#summary.textContent = sentence;
  }

  #forget(now) {
    for (const [track, points] of this.#points) {
      const first = points.findIndex(({ at }) => now - at <= SPAN_MS);
      if (first < 0) this.#points.delete(track);
      else if (first > 0) points.splice(0, first);
    }
  }

  #learnClasses(names) {
    if (this.#classes.length) return;
    this.#classes = names;
    this.#legend.replaceChildren(...names.map((name, index) => this.#switch(name, index)));
  }

  #switch(name, index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(swatch(index), className(name));
    button.addEventListener("click", () => {
      const on = this.#off.has(name);
      if (on) this.#off.delete(name);
      else this.#off.add(name);
      button.setAttribute("aria-pressed", String(on));
      this.draw();
    });
    item.append(button);
    return item;
  }

  #prepare() {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * density);
    this.#canvas.height = Math.round(height * density);
    const context = this.#canvas.getContext("2d");
    context.scale(density, density);
    return { context, width, height, style: getComputedStyle(this.#canvas) };
  }
}

function swatch(index) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 28 8");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", "M1 4h26");
  line.setAttribute("class", `line-${index}`);
  line.setAttribute("stroke-dasharray", DASHES[index % DASHES.length].join(" "));
  drawing.append(line);
  return drawing;
}

function drawGrid({ context, width, height, style }) {
  context.font = `${FONT_PIXELS}px ${style.fontFamily}`;
  context.fillStyle = style.getPropertyValue("--ink-soft");
  context.strokeStyle = style.getPropertyValue("--line");
  context.lineWidth = 1;
  context.textAlign = "end";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const y = levelOf(share, height);
    context.beginPath();
    context.moveTo(MARGIN.left, y);
    context.lineTo(width - MARGIN.right, y);
    context.stroke();
    context.fillText(text("timeline.percent", { count: share * 100 }), MARGIN.left - 8, y);
  }
  context.textBaseline = "alphabetic";
  for (const seconds of [60, 30, 0]) {
    const x = placeOf(seconds * 1000, width);
    context.textAlign = seconds === 60 ? "start" : seconds ? "center" : "end";
    const words = seconds ? text("timeline.ago", { count: seconds }) : text("timeline.now");
    context.fillText(words, x, height - 6);
  }
}

function drawLine({ context, width, height, style }, points, name, index, now) {
  context.strokeStyle = style.getPropertyValue(`--line-${index}`);
  context.lineWidth = 2;
  context.setLineDash(DASHES[index % DASHES.length]);
  context.beginPath();
  let last = -Infinity;
  for (const { at, probabilities } of points) {
    const x = placeOf(now - at, width);
    const y = levelOf(probabilities[name], height);
    if (at - last > GAP_MS) context.moveTo(x, y);
    else context.lineTo(x, y);
    last = at;
  }
  context.stroke();
  context.setLineDash([]);
}

function placeOf(age, width) {
  return width - MARGIN.right - (age / SPAN_MS) * (width - MARGIN.left - MARGIN.right);
}

function levelOf(share, height) {
  return height - MARGIN.bottom - share * (height - MARGIN.top - MARGIN.bottom);
}

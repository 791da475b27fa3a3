// The last sixty seconds of one face or of all: a line for each class, each of which can be hidden.

import { drawCurve, drawShares, Legend, prepareCanvas, redrawOnChange, strokeLine } from "../chart.js";
import { write } from "../dom.js";
import { predictionWord } from "../faces.js";
import { className, formatProbability, text } from "../language.js";

const SPAN_MS = 60_000;
const REDRAW_MS = 200;
// No line is drawn across a gap this long: a pause, or a face that was away.
const GAP_MS = 1000;
const LABEL_PIXELS = 15;
const MARGIN = { left: 44, right: 76, top: 10, bottom: 24 };
// Lines that stay below this would lie on each other; their values stand beside their names.
const LOWEST_DRAWN = 0.05;

export class Timeline {
  #canvas;
  #legend;
  #values;
  #summary;
  #points = new Map();
  #selected = null;
  #drawnAt = 0;
  #pointer = null;
  #all = false;

  constructor(canvas, legend, summary) {
    this.#canvas = canvas;
    this.#values = legend;
    this.#legend = new Legend(legend, () => this.draw());
    this.#summary = summary;
    redrawOnChange(canvas, () => this.draw());
    canvas.addEventListener("pointermove", ({ offsetX }) => this.#point(offsetX));
    canvas.addEventListener("pointerleave", () => this.#point(null));
  }

  /** Draw every face's lines, or only the selected one's. */
  set all(all) {
    this.#all = all;
    this.draw();
  }

  add(faces, now = performance.now()) {
    for (const { track, detected, expression } of faces) {
      if (!expression || detected === false) continue;
      this.#legend.show(Object.keys(expression.probabilities));
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
    const area = prepareCanvas(this.#canvas, MARGIN);
    drawGrid(area);
    const labels = [];
    for (const [track, points] of this.#points) {
      if (!this.#all && track !== this.#selected) continue;
      this.#legend.classes.forEach((name, index) => {
        if (this.#legend.isHidden(name) || points.every(({ probabilities }) => probabilities[name] < LOWEST_DRAWN)) return;
        const placeOf = ({ at, probabilities }) => [area.x(1 - (now - at) / SPAN_MS), area.y(probabilities[name])];
        drawCurve(area, index, points, placeOf, (last, next) => next.at - last.at <= GAP_MS);
        const words = this.#all ? `${track} ${className(name)}` : className(name);
        labels.push({ words, index, y: area.y(points.at(-1).probabilities[name]) });
      });
    }
    drawLabels(area, labels);
    if (this.#pointer === null) return this.#writeValues(now);
    drawPointer(area, this.#pointer);
    this.#writeValues(now - ((area.right - this.#pointer) / (area.right - area.left)) * SPAN_MS);
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

  #point(x) {
    this.#pointer = x;
    this.draw();
  }

  /** Write the selected face's probabilities at a moment beside the classes. */
  #writeValues(at) {
    const points = this.#points.get(this.#selected) ?? [];
    const point = points.findLast((each) => each.at <= at);
    const shown = point && at - point.at <= GAP_MS ? point.probabilities : {};
    [...this.#values.querySelectorAll("output")].forEach((value, index) => {
      const probability = shown[this.#legend.classes[index]];
      write(value, probability === undefined ? "–" : formatProbability(probability));
    });
  }

  #forget(now) {
    for (const [track, points] of this.#points) {
      const first = points.findIndex(({ at }) => now - at <= SPAN_MS);
      if (first < 0) this.#points.delete(track);
      else if (first > 0) points.splice(0, first);
    }
  }
}

function drawGrid(area) {
  const { context, width, height } = area;
  drawShares(area);
  context.textBaseline = "alphabetic";
  for (const seconds of width < 300 ? [60, 0] : [60, 30, 0]) {
    context.textAlign = seconds === 60 ? "start" : seconds ? "center" : "end";
    const words = seconds ? text("timeline.ago", { count: seconds }) : text("timeline.now");
    context.fillText(words, area.x(1 - (seconds * 1000) / SPAN_MS), height - 6);
  }
}

/** Write each line's name at its end; those that would cover each other move down. */
function drawLabels({ context, right, height, colour }, labels) {
  context.textAlign = "start";
  context.textBaseline = "middle";
  let lowest = height - (labels.length - 0.5) * LABEL_PIXELS;
  let last = -Infinity;
  for (const { words, index, y } of labels.sort((a, b) => a.y - b.y)) {
    last = Math.max(last + LABEL_PIXELS, Math.min(y, lowest));
    lowest += LABEL_PIXELS;
    context.fillStyle = colour(`--line-${index}`);
    context.fillText(words, right + 8, last);
  }
}

function drawPointer({ context, y, colour }, x) {
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1;
  strokeLine(context, [x, y(0)], [x, y(1)]);
}

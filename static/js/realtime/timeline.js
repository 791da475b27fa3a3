// The last sixty seconds of one face or of all: a line for each class, each of which can be hidden.

import { drawCurve, drawShares, Legend, prepareCanvas, redrawOnChange, strokeLine } from "../chart.js";
import { element, write } from "../dom.js";
import { countWords } from "../faces.js";
import { className, formatProbability, text } from "../language.js";

const SPAN_MS = 60_000;
const REDRAW_MS = 200;
// No line is drawn across a gap this long: a pause, or a face that was away.
const GAP_MS = 1000;
const LABEL_PIXELS = 15;
const MARGIN = { left: 44, right: 76, top: 10, bottom: 24 };
// Lines that stay below this would lie on each other; their values stand beside their names.
const LOWEST_DRAWN = 0.05;

const canvas = element("timeline");
const legend = new Legend(element("classes"), () => draw());
const pointsOf = new Map(); // by each face's track
let selected = null;
let all = false;
let drawnAt = 0;
let pointer = null;

redrawOnChange(canvas, () => draw());
canvas.addEventListener("pointermove", ({ offsetX }) => point(offsetX));
canvas.addEventListener("pointerleave", () => point(null));

/** Draw every face's lines, or only the selected one's. */
export function showAll(wanted) {
  all = wanted;
  draw();
}

export function add(faces, now = performance.now()) {
  for (const { track, detected, expression } of faces) {
    if (!expression || detected === false) continue;
    legend.show(Object.keys(expression.probabilities));
    if (!pointsOf.has(track)) pointsOf.set(track, []);
    pointsOf.get(track).push({ at: now, ...expression });
  }
  forget(now);
  if (now - drawnAt >= REDRAW_MS) draw(now);
}

export function select(track) {
  selected = track;
  draw();
}

export function clear() {
  pointsOf.clear();
  select(null);
}

/** Write what the lines show in words, for screen readers. */
export function summarize() {
  const points = pointsOf.get(selected) ?? [];
  if (!points.length) return write(element("timeline-summary"), text("timeline.empty"));
  const [[expression, count]] = countWords(points);
  const share = formatProbability(count / points.length);
  write(element("timeline-summary"), text("timeline.summary", { number: selected, expression, share }));
}

function draw(now = performance.now()) {
  drawnAt = now;
  const area = prepareCanvas(canvas, MARGIN);
  drawGrid(area);
  const labels = [];
  for (const [track, points] of pointsOf) {
    if (!all && track !== selected) continue;
    legend.classes.forEach((name, index) => {
      if (legend.isHidden(name) || points.every(({ probabilities }) => probabilities[name] < LOWEST_DRAWN)) return;
      const placeOf = ({ at, probabilities }) => [area.x(1 - (now - at) / SPAN_MS), area.y(probabilities[name])];
      drawCurve(area, index, points, placeOf, (last, next) => next.at - last.at <= GAP_MS);
      const words = all ? `${track} ${className(name)}` : className(name);
      labels.push({ words, index, y: area.y(points.at(-1).probabilities[name]) });
    });
  }
  drawLabels(area, labels);
  if (pointer === null) return writeValues(now);
  const x = Math.min(Math.max(pointer, area.left), area.right);
  drawPointer(area, x);
  writeValues(now - ((area.right - x) / (area.right - area.left)) * SPAN_MS);
}

function point(x) {
  pointer = x;
  draw();
}

/** Write the selected face's probabilities at a moment beside the classes. */
function writeValues(at) {
  const last = pointsOf.get(selected)?.findLast((each) => each.at <= at);
  const shown = last && at - last.at <= GAP_MS ? last.probabilities : {};
  element("classes").querySelectorAll("output").forEach((value, index) => {
    const probability = shown[legend.classes[index]];
    write(value, probability === undefined ? "–" : formatProbability(probability));
  });
}

function forget(now) {
  for (const [track, points] of pointsOf) {
    const first = points.findIndex(({ at }) => now - at <= SPAN_MS);
    if (first < 0) pointsOf.delete(track);
    else if (first > 0) points.splice(0, first);
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

// The whole film: a curve for each expression of one person, and below it who is visible when.

import { drawCurve, drawShares, Legend, prepareCanvas, redrawOnChange, strokeLine } from "../chart.js";
import { element, encodeCanvas, fitCanvas, make } from "../dom.js";
import { colourOf } from "../faces.js";
import { changeFrom } from "./baseline.js";
import { runsOf } from "./readings.js";
import { formatTime } from "./times.js";

const MARGIN = { left: 48, right: 12, top: 10 };
const CURVES = 190;
const AXIS = 24;
const LANE = 16;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600];
const TICK_PIXELS = 70;
// The scale of changes: log-odds of 4 are odds 55 times as high.
const MOST_CHANGE = 4;
const LEAST_SPAN = 1;
const WHEEL = 1.0015;
const DRAG_PIXELS = 4;

const canvas = element("chart");
const legend = new Legend(element("classes"), draw);
let data = null;
let view = null; // seconds from and until, where a part is shown
let now = 0;

redrawOnChange(canvas, draw);
canvas.addEventListener("wheel", wheel, { passive: false });

/** Call onSeek with the time of a point that is chosen. */
export function wireChart(onSeek) {
  canvas.addEventListener("pointerdown", (event) => drag(event, onSeek));
}

/**
 * Show a film's readings.
 * @param shown `start`, `end`, `rate`; `samples` and `baseline` of the chosen person; `lanes`: each
 *   person's index, name and samples; `marks`; `changes`: whether to show changes
 */
export function show(shown) {
  if (data?.start !== shown.start || data?.end !== shown.end) view = null;
  data = shown;
  const read = data.samples.find(({ face }) => face.expression);
  if (read) legend.show(Object.keys(read.face.expression.probabilities));
  canvas.style.setProperty("height", `${CURVES + AXIS + LANE * data.lanes.length}px`);
  draw();
}

export function clear() {
  data = null;
  fitCanvas(canvas);
}

export function moveTo(time) {
  now = time;
  draw();
}

/** Show a part of the film that is `factor` times as long, about the time in the player. */
export const zoom = (factor) => zoomAbout(now, factor);

/** Return a PNG of what is shown, on the page's own background. */
export function picture() {
  const copy = make("canvas", { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d");
  context.fillStyle = getComputedStyle(canvas.parentElement).backgroundColor;
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(canvas, 0, 0);
  return encodeCanvas(copy, "image/png");
}

function draw() {
  if (!data) return;
  const { samples, baseline, changes, marks, lanes, rate } = data;
  const bottom = AXIS + LANE * lanes.length + MARGIN.top;
  const plot = prepareCanvas(canvas, { ...MARGIN, bottom });
  const area = { ...plot, ...span() };
  area.x = (time) => plot.x((time - area.from) / (area.until - area.from));
  drawRanges(area, marks);
  drawGrid(area, changes);
  clip(area);
  // No face, and one that isn't read for sure, is a gap.
  const near = samples.filter(({ time, face }) => face.expression?.confident && time > area.from - 2 / rate && time < area.until + 2 / rate);
  legend.classes.forEach((name, index) => {
    if (legend.isHidden(name)) return;
    const placeOf = ({ time, face }) => [area.x(time), area.y(shareOf(face.expression.probabilities, name, changes && baseline))];
    drawCurve(area, index, near, placeOf, (last, next) => next.index === last.index + 1);
  });
  lanes.forEach((lane, row) => drawLane(area, lane, row, rate));
  drawEvents(area, marks.events);
  drawLine(area, now, "--ink", 1.5);
  area.context.restore();
  lanes.forEach((lane, row) => drawLaneName(area, lane, row));
}

const span = () => view ?? { from: data.start, until: data.end };

function timeAt(event) {
  const { left, width } = canvas.getBoundingClientRect();
  const share = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
  const { from, until } = span();
  return Math.min(data.end, Math.max(data.start, from + share * (until - from)));
}

function zoomAbout(time, factor) {
  if (!data) return;
  const { start, end } = data;
  const { from, until } = span();
  const length = Math.min(end - start, Math.max(LEAST_SPAN, (until - from) * factor));
  const share = Math.min(1, Math.max(0, (time - from) / (until - from)));
  moveView(time - share * length, length);
}

function moveView(wanted, length) {
  const { start, end } = data;
  const from = Math.min(Math.max(start, wanted), Math.max(start, end - length));
  view = length >= end - start ? null : { from, until: from + length };
  draw();
}

function wheel(event) {
  // The page scrolls on where there is nothing more to show.
  if (!data || (!view && event.deltaY > 0)) return;
  event.preventDefault();
  zoomAbout(timeAt(event), WHEEL ** event.deltaY);
}

/** Seek where the pointer is released, or move the view where it was dragged. */
function drag(down, onSeek) {
  if (!data) return;
  const { from, until } = span();
  const pixels = canvas.clientWidth - MARGIN.left - MARGIN.right;
  const listening = new AbortController();
  const { signal } = listening;
  let dragged = false;
  canvas.setPointerCapture(down.pointerId);
  canvas.addEventListener("pointermove", ({ clientX }) => {
    const moved = clientX - down.clientX;
    dragged ||= Math.abs(moved) > DRAG_PIXELS;
    if (dragged) moveView(from - (moved / pixels) * (until - from), until - from);
  }, { signal });
  canvas.addEventListener("pointercancel", () => listening.abort(), { signal });
  canvas.addEventListener("pointerup", (up) => {
    listening.abort();
    if (!dragged) onSeek(timeAt(up));
  }, { signal });
}

function clip({ context, left, right, height }) {
  context.save();
  context.beginPath();
  context.rect(left - 1, 0, right - left + 2, height);
  context.clip();
}

function drawGrid(area, changes) {
  const { context, width, x, y, from, until } = area;
  const changeAt = (share) => signed((2 * share - 1) * MOST_CHANGE);
  drawShares(area, changes ? changeAt : undefined);
  const most = Math.max(2, (width - MARGIN.left) / TICK_PIXELS);
  const step = STEPS.find((each) => (until - from) / each <= most) ?? STEPS.at(-1);
  for (let tick = Math.ceil(from / step) * step; tick <= until; tick += step) {
    strokeLine(context, [x(tick), y(0)], [x(tick), y(0) + 4]);
    context.textAlign = x(tick) > width - TICK_PIXELS / 3 ? "end" : "center";
    context.fillText(formatTime(tick, step < 1 ? 1 : 0), x(tick), CURVES + 6);
  }
}

const signed = (value) => (value > 0 ? `+${value}` : String(value).replace("-", "−"));

function shareOf(probabilities, name, baseline) {
  if (!baseline) return probabilities[name];
  const change = changeFrom(baseline, probabilities)[name];
  return Math.min(1, Math.max(0, 0.5 + change / (2 * MOST_CHANGE)));
}

const laneTop = (row) => CURVES + AXIS + row * LANE;

function drawLane({ context, x }, { index, samples }, row, rate) {
  context.fillStyle = colourOf(index);
  for (const { from, until } of runsOf(samples.map((sample) => ({ ...sample, state: "seen" })), rate)) {
    context.fillRect(x(from), laneTop(row), Math.max(1, x(until) - x(from)), LANE - 5);
  }
}

function drawLaneName({ context, colour }, { label }, row) {
  context.fillStyle = colour("--ink-soft");
  context.textAlign = "end";
  context.textBaseline = "middle";
  context.fillText(label, MARGIN.left - 8, laneTop(row) + (LANE - 5) / 2);
}

function drawRanges({ context, colour, x, height, left, right }, { excluded, baseline }) {
  const within = (time) => Math.min(right, Math.max(left, x(time)));
  const fill = ({ from, until }, name) => {
    context.fillStyle = colour(name);
    context.fillRect(within(from), 0, within(until) - within(from), height);
  };
  if (baseline) fill(baseline, "--tint");
  excluded.forEach((range) => fill(range, "--sunken"));
}

function drawEvents(area, events) {
  const { context, colour, x } = area;
  context.textAlign = "start";
  context.textBaseline = "top";
  for (const { time, word } of events) {
    drawLine(area, time, "--accent", 1);
    context.fillStyle = colour("--accent");
    context.fillText(word, x(time) + 3, 0);
  }
}

function drawLine({ context, colour, x, height }, time, name, width) {
  context.strokeStyle = colour(name);
  context.lineWidth = width;
  strokeLine(context, [x(time), 0], [x(time), height]);
}

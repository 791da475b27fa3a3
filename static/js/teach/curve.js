// The accuracy over the number of samples: of the features, and in a lesson of the raw pixels.

import { dashOf, drawShares, prepareCanvas, redrawOnChange, strokeLine } from "../chart.js";
import { element } from "../dom.js";
import { formatNumber, formatProbability, text } from "../language.js";

const MARGIN = { left: 48, right: 16, top: 12, bottom: 40 };
const TICKS = [1, 2, 5, 10, 20, 50, 100, 200];

const canvas = element("curve");
let curves = {};
let chance = 0;

redrawOnChange(canvas, draw);

/** @param shown points of `size` and `accuracy` by the curve's name; `guessing`: what guessing reaches */
export function showCurves(shown, guessing) {
  curves = shown;
  chance = guessing;
  draw();
}

function draw() {
  const area = prepareCanvas(canvas, MARGIN);
  const { context, height, colour, left, right, y } = area;
  const most = Math.max(2, ...Object.values(curves).flatMap((points) => points.map(({ size }) => size)));
  // Each doubling of the samples takes as much room.
  const x = (size) => area.x(Math.log(size) / Math.log(most));
  drawShares(area);
  context.textAlign = "center";
  for (const size of TICKS.filter((each) => each <= most)) context.fillText(formatNumber(size), x(size), y(0) + 14);
  context.fillText(text("curve_across"), (left + right) / 2, height - 8);
  context.strokeStyle = colour("--ink-soft");
  context.setLineDash([1, 4]);
  strokeLine(context, [left, y(chance)], [right, y(chance)]);
  Object.values(curves).forEach((points, index) => {
    context.strokeStyle = context.fillStyle = colour(`--curve-${index}`);
    context.lineWidth = 2.5;
    context.setLineDash(dashOf(index));
    strokeLine(context, ...points.map(({ size, accuracy }) => [x(size), y(accuracy)]));
    context.setLineDash([]);
    for (const { size, accuracy } of points) context.fillRect(x(size) - 2.5, y(accuracy) - 2.5, 5, 5);
  });
}

/** Return the curves in words. */
export function describeCurves(curves) {
  return Object.entries(curves)
    .map(([name, points]) => text(`curves.${name}`, { points: points.map(({ size, accuracy }) => `${formatNumber(size)}: ${formatProbability(accuracy)}`).join(", ") }))
    .join(" ");
}

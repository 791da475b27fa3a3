// Files made in the browser from the answer in hand; nothing is asked of the server again.

import { chipWords, colourOf, INK, placeOf } from "./faces.js";
import { wholeReading, wholeWords } from "./clothing.js";

export function downloadJson(answerText, name) {
  save(new Blob([answerText], { type: "application/json" }), `${name}.raut.json`);
}

export function downloadCsv(analysis, name) {
  save(new Blob([csv(analysis)], { type: "text/csv" }), `${name}.raut.csv`);
}

export async function downloadPng(picture, analysis, name) {
  const canvas = annotated(picture, analysis);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  save(blob, `${name}.raut.png`);
}

/**
 * Write one row for each face, each with what was read in the whole picture, which has a row of its own
 * where there is no face; names and numbers as the API gives them, for programs to read.
 */
export function csv({ faces, image_predictions: predictions = {} }) {
  const table = faceTable(faces);
  const whole = flat(predictions, "image_");
  const rows = faces.map((face, index) => [index + 1, ...table.row(face)]);
  if (!rows.length) rows.push([""]);
  return csvText([
    ["face", ...table.head, ...Object.keys(whole)],
    ...rows.map((row) => [...row, ...Object.values(whole)]),
  ]);
}

/** Return the columns that tell all of faces, named as the command line names them, and each face's row. */
export function faceTable(faces) {
  const head = [...new Set(faces.flatMap((face) => Object.keys(flat(face))))];
  return {
    head,
    row: (face) => {
      const values = flat(face);
      return head.map((column) => values[column] ?? "");
    },
  };
}

/** Write rows of values as CSV (RFC 4180). */
export function csvText(rows) {
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

// Nested names are joined by underscores: expression_probabilities_happy.
function flat(values, prefix = "", into = {}) {
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && typeof value === "object") flat(value, `${prefix}${name}_`, into);
    else into[prefix + name] = value;
  }
  return into;
}

function cell(value) {
  const written = String(value);
  return /[",\r\n]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
}

function annotated(picture, analysis) {
  const { faces, image } = analysis;
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  // Lines and letters grow with the photo, so that they read alike at any size.
  const unit = Math.max(1, Math.max(canvas.width, canvas.height) / 700);
  faces.forEach((face, index) => {
    const place = placeOf(face, image);
    const box = {
      left: place.left * canvas.width,
      top: place.top * canvas.height,
      width: place.width * canvas.width,
      height: place.height * canvas.height,
    };
    drawBox(context, box, place.roll, colourOf(index), unit);
    drawChip(context, box, [index + 1, chipWords(face)].filter(Boolean).join(" · "), colourOf(index), unit);
  });
  const whole = wholeReading(analysis);
  const corner = { left: 6 * unit, top: 4 * unit, width: 0, height: 0 };
  if (whole) drawChip(context, corner, wholeWords(whole), colourOf(0), unit);
  return canvas;
}

export function drawBox(context, box, roll, colour, unit) {
  context.save();
  context.translate(box.left + box.width / 2, box.top + box.height / 2);
  context.rotate((roll * Math.PI) / 180);
  for (const [style, width] of [[INK, 5 * unit], [colour, 2.5 * unit]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.strokeRect(-box.width / 2, -box.height / 2, box.width, box.height);
  }
  context.restore();
}

export function drawChip(context, box, words, colour, unit) {
  const size = 14 * unit;
  const padding = 5 * unit;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const width = context.measureText(words).width + 2 * padding;
  const height = size + 2 * padding;
  const left = Math.max(0, Math.min(box.left, context.canvas.width - width));
  const above = box.top - height - 2 * unit;
  const top = above >= 0 ? above : Math.min(box.top + box.height + 2 * unit, context.canvas.height - height);
  context.fillStyle = INK;
  context.fillRect(left - unit, top - unit, width + 2 * unit, height + 2 * unit);
  context.fillStyle = colour;
  context.fillRect(left, top, width, height);
  context.fillStyle = INK;
  context.fillText(words, left + padding, top + height / 2);
}

export function save(blob, fileName) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName;
  link.click();
  // The browser has taken its own hold of the blob once the click's task has ended.
  setTimeout(() => URL.revokeObjectURL(link.href));
}

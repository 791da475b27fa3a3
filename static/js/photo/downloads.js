// Files made in the browser from the answer; no further request is sent.

import { encodeCanvas, make, saveFile } from "../dom.js";
import { chipText, colourOf, drawChip, drawFace, predictionWords, relativeBox } from "../faces.js";
import { faceTable, flatten, toCsv } from "../table.js";
import { clothingPrediction } from "./clothing.js";

export function downloadJson(answerText, name) {
  saveFile(answerText, "application/json", `${name}.raut.json`);
}

/** Save one row for each face, or a single row where there is none; each holds the image's predictions too. */
export function downloadCsv({ faces, image_predictions: predictions = {} }, name) {
  const table = faceTable(faces);
  const image = flatten(predictions, "image_");
  const rows = faces.length ? faces.map((face, index) => [index + 1, ...table.row(face)]) : [[""]];
  const content = toCsv([
    ["face", ...table.head, ...Object.keys(image)],
    ...rows.map((row) => [...row, ...Object.values(image)]),
  ]);
  saveFile(content, "text/csv", `${name}.raut.csv`);
}

/** Save the photo with the boxes and the answer drawn on it. */
export async function downloadPng(picture, analysis, name) {
  const canvas = make("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  // Lines and letters grow with the photo, so that they look alike at any size.
  const unit = Math.max(1, Math.max(canvas.width, canvas.height) / 700);
  analysis.faces.forEach((face, index) => {
    drawFace(context, relativeBox(face, analysis.image), chipText(face, index + 1), colourOf(index), unit);
  });
  const clothing = clothingPrediction(analysis);
  const corner = { left: 6 * unit, top: 4 * unit, width: 0, height: 0 };
  if (clothing) drawChip(context, corner, predictionWords(clothing), colourOf(0), unit);
  saveFile(await encodeCanvas(canvas, "image/png"), "image/png", `${name}.raut.png`);
}

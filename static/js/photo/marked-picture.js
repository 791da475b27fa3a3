// The photo with its faces marked, as a file: words where they are free, else numbers and a legend below.

import { encodeCanvas, make } from "../dom.js";
import { chipSize, chipText, colourOf, drawBox, drawChip, inPixels, predictionWords, relativeBox } from "../faces.js";
import { clothingPrediction } from "./clothing.js";
import { aroundBox, placeLabels } from "./labels.js";

const MOST_PIXELS = 24e6;
// A larger picture would be tens of megabytes as PNG.
const MOST_PNG_PIXELS = 4e6;
const QUALITY = 0.92;

/** Return the marked photo as a PNG or JPEG blob; null where the browser can't draw the photo. */
export async function markedPicture({ photo, analysis }) {
  const { faces, image } = analysis;
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (image.width * image.height)));
  const width = Math.round(image.width * scale);
  const height = Math.round(image.height * scale);
  const bitmap = await createImageBitmap(photo, { resizeWidth: width, resizeHeight: height }).catch(() => null);
  if (!bitmap) return null;
  // Lines and letters grow with the photo, so that they look alike at any size.
  const unit = Math.max(1, Math.max(width, height) / 700);
  const boxes = faces.map((face) => inPixels(relativeBox(face, image), width, height));
  const measure = make("canvas").getContext("2d");
  const size = (words) => chipSize(measure, words, unit);
  const sizes = faces.map((face, index) => ({ words: size(chipText(face, index + 1)), number: size(String(index + 1)) }));
  const labels = placeLabels(boxes.map(aroundBox), sizes, { width, height }, 3 * unit);
  const legend = labels.every(({ words }) => words) ? [] : arrangeLegend(faces, size, width, unit);
  const canvas = make("canvas", { width, height: height + Math.ceil(Math.max(0, ...legend.map(({ bottom }) => bottom))) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  faces.forEach((_, index) => drawBox(context, boxes[index], colourOf(index), unit));
  labels.forEach((label, index) => {
    drawChip(context, label, label.words ? chipText(faces[index], index + 1) : String(index + 1), colourOf(index), unit);
  });
  legend.forEach(({ left, top, words }, index) => drawChip(context, { left, top: height + top }, words, colourOf(index), unit));
  const clothing = clothingPrediction(analysis);
  if (clothing) drawChip(context, { left: 6 * unit, top: 4 * unit }, predictionWords(clothing), colourOf(0), unit);
  const pixels = canvas.width * canvas.height;
  return encodeCanvas(canvas, pixels > MOST_PNG_PIXELS ? "image/jpeg" : "image/png", QUALITY);
}

/** Lay out a line for each face in as many columns as fit, read downwards. */
function arrangeLegend(faces, size, width, unit) {
  const lines = faces.map((face, index) => {
    const words = [chipText(face, index + 1), face.gender && predictionWords(face.gender)].filter(Boolean).join(" · ");
    return { words, ...size(words) };
  });
  const gap = 8 * unit;
  const column = Math.max(...lines.map((line) => line.width)) + gap;
  const columns = Math.max(1, Math.floor((width - gap) / column));
  const rows = Math.ceil(lines.length / columns);
  return lines.map(({ words, height }, index) => {
    const top = gap + (index % rows) * (height + gap / 2);
    return { words, left: gap + Math.floor(index / rows) * column, top, bottom: top + height + gap };
  });
}

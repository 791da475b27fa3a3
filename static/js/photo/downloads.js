// Files made in the browser from the answers; no further request is sent.

import { element, saveFile } from "../dom.js";
import { language } from "../language.js";
import { flatten, toCsv } from "../table.js";
import { markedPicture } from "./marked-picture.js";
import { Zip } from "./zip.js";

// Excel takes a file without byte order mark for the system's old encoding, and in Indonesian a
// comma for a decimal point: the command line's dialects "excel" and "excel-id".
const DIALECTS = { id: { delimiter: ";", decimal: ",", marked: true } };
const EXCEL = { marked: true };

export const downloadJson = (answerText, name) => saveFile(answerText, "application/json", `${name}.raut.json`);

/** Save a list of answers as the command line writes it; a photo without one has `error` instead. */
export function downloadAllJson(entries) {
  const answers = entries.map(({ name: file, analysis, problem }) => (analysis ? { file, ...analysis } : { file, ...asError(problem) }));
  downloadJson(JSON.stringify(answers, null, 2), "photos");
}

/** Save a row for each face, and one for a photo without: the command line's columns. */
export function downloadCsv(entries, name) {
  const { columns, versions } = JSON.parse(element("photo-form").dataset.table);
  const rows = entries.flatMap(({ problem, ...entry }) => rowsOf(entry).map((row) => ({ ...row, ...versions, ...asError(problem) })));
  saveFile(toCsv(rows, { columns, ...(DIALECTS[language] ?? EXCEL) }), "text/csv", `${name}.raut.csv`);
}

export async function downloadPicture(entry, name) {
  const blob = await markedPicture(entry);
  if (blob) saveFile(blob, blob.type, `${name}.raut.${ending(blob)}`);
}

/** Save the marked pictures of all entries as one file; `onProgress` is called with the count done. */
export async function downloadZip(entries, onProgress) {
  const zip = new Zip();
  const names = new Set();
  for (const [index, entry] of entries.entries()) {
    const blob = await markedPicture(entry);
    if (blob) await zip.add(uniqueName(names, entry.name.replace(/\.[^./]+$/, ""), ending(blob)), blob);
    onProgress(index + 1);
  }
  saveFile(zip.toBlob(), "application/zip", "photos.raut.zip");
}

const ending = (blob) => (blob.type === "image/jpeg" ? "jpg" : "png");
const asError = (problem) => ({ error: problem?.code ?? "", error_detail: problem?.detail ?? "" });

function uniqueName(names, base, kind) {
  let name = `${base}.${kind}`;
  for (let copy = 2; names.has(name); copy++) name = `${base} (${copy}).${kind}`;
  names.add(name);
  return name;
}

function rowsOf({ name: file, analysis }) {
  if (!analysis) return [{ file }];
  const { faces, image, image_predictions: predictions = {} } = analysis;
  const shared = { file, ...image, faces: faces.length, ...flatten(predictions, "image_") };
  return faces.length ? faces.map((face, index) => ({ ...shared, face: index + 1, ...flatten(face) })) : [shared];
}

// The ways a photo comes in: chosen, dropped anywhere on the page, pasted, or snapped.

import { Camera } from "./camera.js";
import { text } from "./language.js";

/** Call onPhoto(file, note) for each photo; call onNothing(sentence) when none came. */
export function receivePhotos(onPhoto, onNothing) {
  receiveChosen(onPhoto);
  receiveDropped(onPhoto, onNothing);
  receivePasted(onPhoto, onNothing);
  const camera = new Camera(onPhoto);
  document.getElementById("snap").addEventListener("click", () => camera.open());
}

function receiveChosen(onPhoto) {
  const input = document.getElementById("image");
  document.getElementById("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const [file] = input.files;
    // The same file may be chosen again; without this the browser would see no change.
    input.value = "";
    if (file) onPhoto(file);
  });
}

function receiveDropped(onPhoto, onNothing) {
  const veil = document.getElementById("drop-veil");
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    veil.hidden = !event.dataTransfer.types.includes("Files");
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    veil.hidden = true;
    takeFirst(event.dataTransfer.files, onPhoto, () => onNothing(text("nothing_to_drop")));
  });
}

function receivePasted(onPhoto, onNothing) {
  document.addEventListener("paste", (event) => {
    takeFirst(event.clipboardData.files, onPhoto, () => onNothing(text("nothing_to_paste")));
  });
}

function takeFirst(files, onPhoto, onNone) {
  if (files.length === 0) return onNone();
  const photo = [...files].find((file) => file.type.startsWith("image/")) ?? files[0];
  onPhoto(photo, files.length > 1 ? text("first_of_several") : "");
}

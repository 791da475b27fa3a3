// The ways a photo comes in: chosen, dropped anywhere on the page, pasted, or taken by the camera.

import { element } from "../dom.js";
import { text } from "../language.js";
import { wireCamera } from "./camera-dialog.js";

/** Call onPhoto(file, note) for each photo; call onNothing(sentence) when none came. */
export function wireFileInput(onPhoto, onNothing) {
  const takeFirst = (files, nothing) => {
    if (files.length === 0) return onNothing(text(nothing));
    const photo = [...files].find((file) => file.type.startsWith("image/")) ?? files[0];
    onPhoto(photo, files.length > 1 ? text("first_of_several") : "");
  };
  wireChooser(onPhoto);
  wireDropping(takeFirst);
  document.addEventListener("paste", ({ clipboardData }) => takeFirst(clipboardData.files, "nothing_to_paste"));
  wireCamera(onPhoto);
}

function wireChooser(onPhoto) {
  const input = element("image");
  element("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const [file] = input.files;
    // Without this, choosing the same file again would be no change.
    input.value = "";
    if (file) onPhoto(file);
  });
}

function wireDropping(takeFirst) {
  const veil = element("drop-veil");
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
    takeFirst(event.dataTransfer.files, "nothing_to_drop");
  });
}

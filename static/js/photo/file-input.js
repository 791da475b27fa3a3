// The ways photos come in: chosen, a folder of them, dropped anywhere on the page, pasted, or taken by the camera.

import { element } from "../dom.js";
import { wireDropping } from "../dropping.js";
import { text } from "../language.js";
import { droppedFiles, onlyPhotos, preferPhotos, wireChooser } from "../photo-files.js";
import { wireCamera } from "./camera-dialog.js";

/** Call onPhotos(files) for the photos that came together; call onNothing(sentence) when none came. */
export function wireFileInput(onPhotos, onNothing) {
  const take = (files, nothing) => (files.length ? onPhotos(files) : onNothing(text(nothing)));
  for (const [button, input, pick] of [["choose", "image", (files) => files], ["choose-folder", "folder", onlyPhotos]]) {
    wireChooser(element(button), element(input), (files) => take(pick(files), "no_photos"));
  }
  // Without a script the form sends one photo.
  element("image").multiple = true;
  element("add-photos").addEventListener("click", () => element("image").click());
  wireDropping(async ({ items }) => take(await droppedFiles(items), "nothing_to_drop"));
  document.addEventListener("paste", ({ clipboardData }) => take(preferPhotos([...clipboardData.files]), "nothing_to_paste"));
  for (const button of document.querySelectorAll(".samples button")) {
    button.addEventListener("click", () => fetchSample(button).then((photo) => onPhotos([photo]), () => onNothing(text("no_sample"))));
  }
  wireCamera((photo) => onPhotos([photo]));
}

async function fetchSample({ value, title }) {
  const response = await fetch(value);
  if (!response.ok) throw new Error(`${value}: ${response.status}`);
  const photo = await response.blob();
  return new File([photo], title, { type: photo.type });
}

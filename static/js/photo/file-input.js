// The ways photos come in: chosen, a folder of them, dropped anywhere on the page, pasted, or taken by the camera.

import { element } from "../dom.js";
import { wireDropping } from "../dropping.js";
import { text } from "../language.js";
import { wireCamera } from "./camera-dialog.js";

// Browsers know no type for some of these.
const ENDINGS = /\.(avif|bmp|gif|hei[cf]|jfif|jpe|jpe?g|jpg_large|png|tiff?|webp)$/i;
// What cameras, systems and servers leave among photos.
const HIDDEN = /(^|\/)(\.|@eaDir\/)/;

/** Call onPhotos(files) for the photos that came together; call onNothing(sentence) when none came. */
export function wireFileInput(onPhotos, onNothing) {
  const take = (files, nothing) => (files.length ? onPhotos(files) : onNothing(text(nothing)));
  for (const [button, input, pick] of [["choose", "image", (files) => files], ["choose-folder", "folder", onlyPhotos]]) {
    wireChooser(element(button), element(input), (files) => take(pick(files), "no_photos"));
  }
  element("add-photos").addEventListener("click", () => element("image").click());
  wireDropping(async ({ items }) => take(await droppedFiles([...items].filter(({ kind }) => kind === "file")), "nothing_to_drop"));
  document.addEventListener("paste", ({ clipboardData }) => take(preferPhotos([...clipboardData.files]), "nothing_to_paste"));
  wireCamera((photo) => onPhotos([photo]));
}

const isPhoto = ({ type, name }) => type.startsWith("image/") || ENDINGS.test(name);
export const onlyPhotos = (files) => files.filter((file) => isPhoto(file) && !HIDDEN.test(file.webkitRelativePath || file.name));

// What somebody chose himself is sent even if its type is none: the server says what is wrong with it.
function preferPhotos(files) {
  const photos = files.filter(isPhoto);
  return photos.length ? photos : files.slice(0, 1);
}

/** Let a button open a hidden file input; call onFiles with what was chosen. */
export function wireChooser(button, input, onFiles) {
  // Without a script the form sends one photo.
  input.multiple = true;
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const files = [...input.files];
    // Without this, choosing the same file again would be no change.
    input.value = "";
    onFiles(files);
  });
}

/** Return the photos among dropped items and in dropped folders. */
export async function droppedFiles(items) {
  // The browser forgets the items once this function waits.
  const dropped = items.map((item) => ({ folder: item.webkitGetAsEntry(), file: item.getAsFile() }));
  const files = dropped.filter(({ folder }) => !folder?.isDirectory).map(({ file }) => file);
  const folders = dropped.filter(({ folder }) => folder?.isDirectory).map(({ folder }) => folder);
  const inside = (await Promise.all(folders.map(filesWithin))).flat();
  return [...preferPhotos(files), ...onlyPhotos(inside)];
}

async function filesWithin(folder) {
  if (HIDDEN.test(`${folder.name}/`)) return [];
  const reader = folder.createReader();
  const found = [];
  // A reader gives at most a hundred entries at once.
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) break;
    const files = entries.map((entry) => (entry.isDirectory ? filesWithin(entry) : new Promise((resolve, reject) => entry.file(resolve, reject))));
    found.push(...(await Promise.all(files)).flat());
  }
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

// Photos among files: which they are, and how they come from a hidden input and from dropped folders.

// Browsers know no type for some of these.
const ENDINGS = /\.(avif|bmp|gif|hei[cf]|jfif|jpe|jpe?g|jpg_large|png|tiff?|webp)$/i;
// What cameras, systems and servers leave among photos.
const HIDDEN = /(^|\/)(\.|@eaDir\/)/;

const isPhoto = ({ type, name }) => type.startsWith("image/") || ENDINGS.test(name);
export const onlyPhotos = (files) => files.filter((file) => isPhoto(file) && !HIDDEN.test(file.webkitRelativePath || file.name));

/** What somebody chose himself is sent even if its type is none: the server says what is wrong with it. */
export function preferPhotos(files) {
  const photos = files.filter(isPhoto);
  return photos.length ? photos : files.slice(0, 1);
}

/** Let a button open a hidden file input; call onFiles with what was chosen. */
export function wireChooser(button, input, onFiles) {
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
  const dropped = [...items].filter(({ kind }) => kind === "file").map((item) => ({ folder: item.webkitGetAsEntry(), file: item.getAsFile() }));
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

// Short ways to the page's elements, shared by every script.

export const element = (id) => document.getElementById(id);

/** Return a copy of a template's only element. */
export const clone = (id) => element(id).content.firstElementChild.cloneNode(true);

/** Make an element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Write text; unchanged text is left alone, so that no screen reader speaks it twice. */
export function write(target, words) {
  if (target.textContent !== words) target.textContent = words;
}

/** Show a sentence in the page's message; nothing hides it. */
export function say(sentence) {
  write(element("message"), sentence);
  element("message").hidden = !sentence;
}

/** Call the actions of keys pressed on a view itself, so that no key is taken from another control. */
export function wireKeys(view, actions) {
  view.addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || event.target !== view || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
}

/** Set `aria-current` on one of some elements. */
export function markCurrent(elements, index, kind = "true") {
  elements.forEach((each, at) => {
    if (at === index) each.setAttribute("aria-current", kind);
    else each.removeAttribute("aria-current");
  });
}

/** Let the visitor save a blob as a file. */
export function saveFile(content, type, name) {
  const link = make("a", { href: URL.createObjectURL(new Blob([content].flat(), { type })), download: name });
  link.click();
  // The browser holds the blob itself once the click's task has ended.
  setTimeout(() => URL.revokeObjectURL(link.href));
}

/** Clear a canvas and give it the screen's density; return its size in CSS pixels, and the density. */
export function fitCanvas(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  return { width, height, density };
}

/** Give a canvas a size; setting the size that it has would reallocate it. */
export function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

/** Encode a canvas as a blob. */
export const encodeCanvas = (canvas, type, quality) =>
  new Promise((resolve) => canvas.toBlob(resolve, type, quality));

/** Return the time in UTC as part of a file's name. */
export const fileStamp = (date) => `${date.toISOString().slice(0, 19).replaceAll(":", "-")}Z`;

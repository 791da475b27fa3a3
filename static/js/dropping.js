// Files dropped anywhere on the page, which a veil announces.

import { element } from "./dom.js";

/** Call onDrop with what the browser transfers. */
export function wireDropping(onDrop) {
  const veil = element("drop-veil");
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    veil.hidden = !event.dataTransfer.types.includes("Files");
  });
  window.addEventListener("dragleave", (event) => (veil.hidden ||= !event.relatedTarget));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    veil.hidden = true;
    onDrop(event.dataTransfer);
  });
}

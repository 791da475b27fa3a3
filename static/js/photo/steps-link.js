// The way from a face to its steps: the photo goes to the steps page as that page's own form sends it.

import { element } from "../dom.js";

/** Open the steps of a photo's face, `number` counting from 1, in a new tab. */
export function openSteps(photo, number) {
  const form = element("steps-form");
  const transfer = new DataTransfer();
  transfer.items.add(photo);
  form.elements.image.files = transfer.files;
  form.elements.face.value = number;
  form.submit();
}

// Large photos made smaller before they are sent, for slow lines and for the server's limit.

import { encodeCanvas, make } from "../dom.js";

// A smaller file is sent in seconds even by a phone.
const LARGE_BYTES = 1_000_000;
const QUALITY = 0.92;
// Pixels of the shorter side, so that a panorama keeps its faces. In sheets of 100 faces in 12
// megapixels as many were found in the copy, and 4% of the expressions read changed (docs/pages.md).
// The thorough effort can use 12 megapixels (the detector's MOST_SEARCHED).
const SIDE = 1536;
const THOROUGH_SIDE = 3072;

/**
 * Return what to send of a photo, and the `size` of the upright photo where that is a smaller copy.
 * @param original whether a copy is made only of what is larger than the limit
 */
export async function shrink(photo, { effort, limitBytes, original }) {
  if (photo.size <= (original ? limitBytes : Math.min(LARGE_BYTES, limitBytes))) return { sent: photo };
  const size = await naturalSize(photo);
  const side = original || effort === "thorough" ? THOROUGH_SIDE : SIDE;
  const scale = size && Math.min(1, side / Math.min(size.width, size.height));
  if (!size || (scale === 1 && photo.size <= limitBytes)) return { sent: photo };
  try {
    const copy = await draw(photo, Math.round(size.width * scale), Math.round(size.height * scale));
    return copy.size < photo.size ? { sent: new File([copy], photo.name, { type: copy.type }), size } : { sent: photo };
  } catch {
    return { sent: photo };
  }
}

/** Return an answer about a smaller copy as one about the photo: its pixels are the photo's. */
export function enlarge(analysis, { width, height }) {
  const scale = { x: width / analysis.image.width, y: height / analysis.image.height };
  const round = (pixels) => Math.round(pixels * 10) / 10;
  const faces = analysis.faces.map(({ box, ...face }) => ({
    box: { x: round(box.x * scale.x), y: round(box.y * scale.y), width: round(box.width * scale.x), height: round(box.height * scale.y) },
    ...face,
  }));
  return { ...analysis, image: { ...analysis.image, width, height }, faces };
}

/** Return the upright size of a photo, which a browser reads from its first bytes; null where it can't. */
function naturalSize(photo) {
  const image = new Image();
  return new Promise((resolve) => {
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => resolve(null);
    image.src = URL.createObjectURL(photo);
  }).finally(() => URL.revokeObjectURL(image.src));
}

async function draw(photo, width, height) {
  const bitmap = await createImageBitmap(photo, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return encodeCanvas(canvas, "image/jpeg", QUALITY);
}

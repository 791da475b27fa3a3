// The player: the film with the boxes of the moment.

import { element, fitCanvas } from "../dom.js";
import { chipText, colourOf, drawFace, relativeBox } from "../faces.js";

const video = element("video");
const canvas = element("canvas");
let find = () => null;

/** Call onTime with the time that is shown, whenever it changes. */
export function wirePlayer(onTime) {
  const moved = () => {
    draw();
    onTime(time());
  };
  const follow = () => {
    if (video.paused) return;
    moved();
    requestAnimationFrame(follow);
  };
  new ResizeObserver(draw).observe(canvas);
  for (const name of ["seeked", "pause", "loadeddata", "timeupdate"]) video.addEventListener(name, moved);
  video.addEventListener("play", () => requestAnimationFrame(follow));
}

export const time = () => video.currentTime;

export const open = (address) => (video.src = address);

/** @param found returns the image's size and the faces, with number and colour's index, at a time */
export function showFaces(found) {
  find = found;
  draw();
}

export function seek(wanted) {
  video.pause();
  video.currentTime = wanted;
}

export function toggle() {
  if (video.paused) video.play();
  else video.pause();
}

export function draw() {
  const { width, density } = fitCanvas(canvas);
  const found = find(time());
  if (!found) return;
  const unit = density * Math.max(0.85, width / 900);
  for (const { face, name, index } of found.faces) {
    drawFace(canvas.getContext("2d"), relativeBox(face, found.image), chipText(face, name), colourOf(index), unit);
  }
}

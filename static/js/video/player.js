// The player: the film with the boxes of the moment.

import { fitCanvas } from "../dom.js";
import { chipText, colourOf, drawFace, relativeBox } from "../faces.js";

export class Player {
  #video;
  #canvas;
  #onTime;
  #find = () => null;

  /** @param onTime called with the time that is shown, whenever it changes */
  constructor(video, canvas, onTime) {
    this.#video = video;
    this.#canvas = canvas;
    this.#onTime = onTime;
    new ResizeObserver(() => this.draw()).observe(canvas);
    for (const name of ["seeked", "pause", "loadeddata", "timeupdate"]) video.addEventListener(name, () => this.#moved());
    video.addEventListener("play", () => requestAnimationFrame(() => this.#follow()));
  }

  get time() {
    return this.#video.currentTime;
  }

  open(address) {
    this.#video.src = address;
  }

  /** @param find returns the image's size and the faces, with number and colour's index, at a time */
  showFaces(find) {
    this.#find = find;
    this.draw();
  }

  seek(time) {
    this.#video.pause();
    this.#video.currentTime = time;
  }

  toggle() {
    if (this.#video.paused) this.#video.play();
    else this.#video.pause();
  }

  draw() {
    const { width, density } = fitCanvas(this.#canvas);
    const found = this.#find(this.time);
    if (!found) return;
    const context = this.#canvas.getContext("2d");
    const unit = density * Math.max(0.85, width / 900);
    for (const { face, name, index } of found.faces) {
      drawFace(context, relativeBox(face, found.image), chipText(face, name), colourOf(index), unit);
    }
  }

  #follow() {
    if (this.#video.paused) return;
    this.#moved();
    requestAnimationFrame(() => this.#follow());
  }

  #moved() {
    this.draw();
    this.#onTime(this.time);
  }
}

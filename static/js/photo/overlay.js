// The boxes over the photo: one button for each face, so that a keyboard reaches them all.

import { element, make } from "../dom.js";
import { chipText, colourOf, faceName, inPixels, relativeBox } from "../faces.js";
import { aroundBox, placeLabels } from "./labels.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
const ZOOMS = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 };
const MOST_ZOOM = 8;

const root = element("overlay");
const frame = element("photo-frame");
let on = {};
let zoomed = 1;
let faces = [];
let buttons = [];
let boxes = [];

/** @param handlers onSelect and onPoint, called with the index of a face whose box is chosen or pointed at (-1: none) */
export function wireOverlay(handlers) {
  on = handlers;
  root.addEventListener("keydown", move);
  new ResizeObserver(arrangeChips).observe(root);
  element("zoom-in").addEventListener("click", () => zoom(zoomed * ZOOMS["+"]));
  element("zoom-out").addEventListener("click", () => zoom(zoomed * ZOOMS["-"]));
  // A pinch on a touchpad is a wheel with Ctrl; without it the wheel scrolls.
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { left, top, width, height } = frame.getBoundingClientRect();
    zoom(zoomed * Math.exp(-event.deltaY / 200), (event.clientX - left) / width, (event.clientY - top) / height);
  }, { passive: false });
  frame.addEventListener("pointermove", ({ buttons: pressed, pointerType, movementX, movementY }) => {
    if (pressed === 1 && pointerType === "mouse") frame.scrollBy(-movementX, -movementY);
  });
}

export function show(found, image) {
  faces = found;
  boxes = faces.map((face) => relativeBox(face, image));
  buttons = faces.map(boxButton);
  root.replaceChildren(...buttons);
  arrangeChips();
}

/** Mark a box as selected; it becomes the one that Tab reaches. */
export function select(index) {
  buttons.forEach((button, at) => {
    button.setAttribute("aria-pressed", String(at === index));
    button.tabIndex = at === index ? 0 : -1;
  });
}

/** Mark the box whose card is pointed at. */
export const point = (index) => buttons.forEach((button, at) => button.classList.toggle("pointed", at === index));

export function focus(index) {
  buttons[index]?.focus({ preventScroll: true });
  buttons[index]?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Show the photo larger, 1 being whole; the point at `x` and `y` of the frame, as shares, stays where it is. */
export function zoom(factor, x = 0.5, y = 0.5) {
  const next = Math.min(MOST_ZOOM, Math.max(1, factor));
  const [left, top] = [frame.scrollLeft + x * frame.clientWidth, frame.scrollTop + y * frame.clientHeight];
  element("photo").style.setProperty("--zoom", String(next));
  const grown = next / zoomed;
  frame.scrollTo(left * grown - x * frame.clientWidth, top * grown - y * frame.clientHeight);
  zoomed = next;
}

function boxButton(face, index) {
  const box = boxes[index];
  const outline = make("span", { className: "face-outline" });
  const button = make("button", {
    type: "button",
    className: "face-box",
    tabIndex: index === 0 ? 0 : -1,
    ariaPressed: "false",
    ariaLabel: faceName(face, index + 1),
  }, outline, make("span", { className: "chip" }));
  button.style.setProperty("--tone", colourOf(index));
  for (const side of ["left", "top", "width", "height"]) button.style.setProperty(side, `${box[side] * 100}%`);
  // A small face inside a large one's box must stay within reach of the pointer.
  button.style.setProperty("z-index", String(1 + Math.round((1 - box.width * box.height) * 1000)));
  if (box.roll) outline.style.setProperty("transform", `rotate(${box.roll}deg)`);
  button.addEventListener("click", () => on.onSelect(index));
  for (const [event, pointed] of [["pointerenter", index], ["pointerleave", -1], ["focus", index], ["blur", -1]]) {
    button.addEventListener(event, () => on.onPoint(pointed));
  }
  return button;
}

function move(event) {
  const at = buttons.indexOf(document.activeElement);
  if (at >= 0 && event.key in ZOOMS && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    zoom(zoomed * ZOOMS[event.key]);
    return focus(at);
  }
  const last = buttons.length - 1;
  const edges = { Home: 0, End: last };
  if (at < 0 || !(event.key in edges || event.key in STEPS)) return;
  const next = edges[event.key] ?? Math.min(last, Math.max(0, at + STEPS[event.key]));
  event.preventDefault();
  on.onSelect(next);
  focus(next);
}

function arrangeChips() {
  const { width, height } = root.getBoundingClientRect();
  if (!width) return;
  const chips = buttons.map((button) => button.querySelector(".chip"));
  const inside = boxes.map((box) => inPixels(box, width, height));
  const words = faces.map((face, index) => chipText(face, index + 1));
  const [wide, narrow] = [words, words.map((_, index) => String(index + 1))].map((contents) => measure(chips, contents));
  const labels = placeLabels(inside.map(aroundBox), chips.map((_, index) => ({ words: wide[index], number: narrow[index] })), { width, height });
  labels.forEach((label, index) => {
    if (label.words) chips[index].textContent = words[index];
    chips[index].style.setProperty("left", `${label.left - inside[index].left}px`);
    chips[index].style.setProperty("top", `${label.top - inside[index].top}px`);
  });
}

function measure(chips, contents) {
  chips.forEach((chip, index) => (chip.textContent = contents[index]));
  return chips.map(({ offsetWidth: width, offsetHeight: height }) => ({ width, height }));
}

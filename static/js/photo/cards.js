// The cards beside the photo: one for each face, with every probability.

import { clone, element, make, markCurrent } from "../dom.js";
import { createCard, tasksOf, updateBars, updateSummary, updateWhy } from "../face-card.js";
import { relativeBox } from "../faces.js";
import { formatNumber, formatProbability, taskName, text } from "../language.js";

// More open cards than this push the photo's other faces out of reach.
const MOST_OPEN = 2;
const CROP = 112;
const MARGIN = 0.2;

let cards = [];

const allOpen = () => cards.length <= MOST_OPEN;

/**
 * @param picture the photo's image, from which each card shows its face; none where it isn't drawn
 * @param on onSelect, onPoint and onShow, called with the index of a face whose card is chosen or
 *   pointed at (-1: none), or whose box is to be brought into view
 */
export function show({ faces, image, image_predictions: predictions = {} }, picture, on) {
  cards = faces.map((face, index) => faceCard(face, index, on));
  if (picture) cards.forEach((card, index) => head(card).querySelector(".icon").before(crop(picture, faces[index], image)));
  cards.forEach((card, index) => setOpen(card, allOpen() || index === 0));
  const images = Object.entries(predictions).map(([name, prediction]) => imageCard(name, prediction));
  element("cards").replaceChildren(...images, ...cards);
}

/** Mark a card as selected and open it; among many, close the others. */
export function select(index) {
  markCurrent(cards, index);
  cards.forEach((card, at) => setOpen(card, at === index || allOpen()));
}

/** Mark the card whose box is pointed at. */
export const point = (index) => cards.forEach((card, at) => card.classList.toggle("pointed", at === index));

export const reveal = (index) => cards[index]?.scrollIntoView({ block: "nearest" });

function faceCard(face, index, on) {
  const card = createCard(index + 1, () => {
    const close = isOpen(card) && card.hasAttribute("aria-current");
    on.onSelect(index);
    if (close) setOpen(card, false);
  });
  updateSummary(card, face, index + 1);
  card.id = `face-${index + 1}`;
  card.querySelector(".face-score").textContent = text("score", {
    score: formatProbability(face.score),
    width: formatNumber(Math.round(face.box.width)),
    height: formatNumber(Math.round(face.box.height)),
  });
  const predictions = tasksOf(face).map((name) => predictionSection(taskName(name), face[name]));
  card.querySelector(".readings").append(...predictions);
  card.querySelector(".show-steps").value = index + 1;
  card.querySelector(".show-in-photo").addEventListener("click", () => {
    on.onSelect(index);
    on.onShow(index);
  });
  for (const [event, pointed] of [["pointerenter", index], ["pointerleave", -1], ["focusin", index], ["focusout", -1]]) {
    card.addEventListener(event, () => on.onPoint(pointed));
  }
  return card;
}

// The face with its surroundings, in device pixels enough for a sharp screen.
function crop(picture, face, image) {
  const box = relativeBox(face, image);
  const side = box.width * picture.naturalWidth * (1 + 2 * MARGIN);
  const left = (box.left - MARGIN * box.width) * picture.naturalWidth;
  const top = (box.top - MARGIN * box.height) * picture.naturalHeight;
  const canvas = make("canvas", { className: "face-crop", width: CROP, height: CROP, ariaHidden: "true" });
  canvas.getContext("2d").drawImage(picture, left, top, side, side, 0, 0, CROP, CROP);
  return canvas;
}

function imageCard(name, prediction) {
  const section = predictionSection(taskName(name), prediction);
  // A face's card has a heading above those of its predictions; this one has no other.
  section.querySelector("h3").replaceWith(make("h2", {}, taskName(name)));
  return make("article", { className: "face-card image-card" }, section);
}

function predictionSection(title, prediction) {
  const section = clone("reading");
  section.querySelector("h3").textContent = title;
  updateWhy(section.querySelector(".why-unsure"), prediction);
  updateBars(section.querySelector(".bars"), prediction);
  return section;
}

const head = (card) => card.querySelector(".face-card-head button");
const isOpen = (card) => head(card).getAttribute("aria-expanded") === "true";

function setOpen(card, open) {
  head(card).setAttribute("aria-expanded", String(open));
  card.querySelector(".face-card-body").hidden = !open;
}

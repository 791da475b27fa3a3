// The cards beside the photo: one for each face, with every probability.

import { clone, make, markCurrent } from "../dom.js";
import { createCard, TASKS, updateBars, updateSummary, updateWhy } from "../face-card.js";
import { formatNumber, formatProbability, taskName, text } from "../language.js";

// More open cards than this push the photo's other faces out of reach.
const MOST_OPEN = 2;

export class Cards {
  #root;
  #onSelect;
  #onShow;
  #cards = [];

  /** @param onSelect called with a face's index; @param onShow called to bring its box into view */
  constructor(root, onSelect, onShow) {
    this.#root = root;
    this.#onSelect = onSelect;
    this.#onShow = onShow;
  }

  show({ faces, image_predictions: predictions = {} }) {
    this.#cards = faces.map((face, index) => this.#card(face, index));
    this.#cards.forEach((card, index) => setOpen(card, this.#allOpen || index === 0));
    const images = Object.entries(predictions).map(([name, prediction]) => imageCard(name, prediction));
    this.#root.replaceChildren(...images, ...this.#cards);
  }

  /** Mark a card as selected and open it; among many, close the others. */
  select(index) {
    markCurrent(this.#cards, index);
    this.#cards.forEach((card, at) => setOpen(card, at === index || this.#allOpen));
  }

  reveal(index) {
    this.#cards[index]?.scrollIntoView({ block: "nearest" });
  }

  get #allOpen() {
    return this.#cards.length <= MOST_OPEN;
  }

  #card(face, index) {
    const card = createCard(index + 1, () => this.#toggle(card, index));
    updateSummary(card, face, index + 1);
    card.id = `face-${index + 1}`;
    card.querySelector(".face-score").textContent = text("score", {
      score: formatProbability(face.score),
      width: formatNumber(Math.round(face.box.width)),
      height: formatNumber(Math.round(face.box.height)),
    });
    const predictions = TASKS.filter((name) => face[name]).map((name) => predictionSection(text(name), face[name]));
    card.querySelector(".readings").append(...predictions);
    card.querySelector(".show-in-photo").addEventListener("click", () => {
      this.#onSelect(index);
      this.#onShow(index);
    });
    return card;
  }

  #toggle(card, index) {
    const close = isOpen(card) && card.hasAttribute("aria-current");
    this.#onSelect(index);
    if (close) setOpen(card, false);
  }
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

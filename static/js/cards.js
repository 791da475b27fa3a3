// The cards beside the photo: one for each face, with every probability the models gave.

import { colourOf, expressionProbability, expressionWord, glyphOf } from "./faces.js";
import { className, formatNumber, formatProbability, taskName, text } from "./language.js";

// More open cards than this would push the photo's other faces out of reach.
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

  clear() {
    this.#root.replaceChildren();
    this.#cards = [];
  }

  draw({ faces, image_predictions: predictions = {} }) {
    this.#cards = faces.map((face, index) => this.#card(face, index));
    this.#cards.forEach((card, index) => setOpen(card, this.#allOpen || index === 0));
    const whole = Object.entries(predictions).map(([name, reading]) => pictureCard(name, reading));
    this.#root.replaceChildren(...whole, ...this.#cards);
  }

  /** Mark a card as selected and open it; among many, the others close. */
  select(index) {
    this.#cards.forEach((card, at) => {
      const selected = at === index;
      card.toggleAttribute("data-selected", selected);
      if (selected) card.setAttribute("aria-current", "true");
      else card.removeAttribute("aria-current");
      setOpen(card, selected || this.#allOpen);
    });
  }

  reveal(index) {
    this.#cards[index]?.scrollIntoView({ block: "nearest" });
  }

  get #allOpen() {
    return this.#cards.length <= MOST_OPEN;
  }

  #card(face, index) {
    const card = clone("face-card");
    const find = (selector) => card.querySelector(selector);
    card.style.setProperty("--tone", colourOf(index));
    card.id = `face-${index + 1}`;
    find(".face-number").textContent = String(index + 1);
    find("use").setAttribute("href", `#glyph-${glyphOf(face)}`);
    find(".face-label").textContent = expressionWord(face) || text("face", { number: index + 1 });
    find(".face-sublabel").textContent = genderLine(face);
    find(".face-probability").textContent = expressionProbability(face);
    find(".face-score").textContent = text("score", {
      score: formatProbability(face.score),
      width: formatNumber(Math.round(face.box.width)),
      height: formatNumber(Math.round(face.box.height)),
    });
    const sections = ["expression", "gender"].filter((name) => face[name]);
    find(".readings").append(...sections.map((name) => readingSection(text(name), face[name])));
    find(".face-card-head button").addEventListener("click", () => this.#toggle(card, index));
    find(".show-in-photo").addEventListener("click", () => {
      this.#onSelect(index);
      this.#onShow(index);
    });
    return card;
  }

  #toggle(card, index) {
    const close = isOpen(card) && card.hasAttribute("data-selected");
    this.#onSelect(index);
    if (close) setOpen(card, false);
  }
}

/** Return the line under a face's expression. */
export function genderLine(face) {
  if (!face.gender) return "";
  const word = face.gender.confident ? className(face.gender.label) : text("unsure");
  const probability = face.gender.confident ? ` ${formatProbability(face.gender.probability)}` : "";
  return `${text("gender")}: ${word}${probability}`;
}

function pictureCard(name, reading) {
  const card = document.createElement("article");
  card.className = "face-card picture-card";
  const section = readingSection(taskName(name), reading);
  // A face's card has a heading above those of its readings; this one has only this.
  const title = document.createElement("h2");
  title.textContent = taskName(name);
  section.querySelector("h3").replaceWith(title);
  card.append(section);
  return card;
}

function readingSection(title, reading) {
  const section = clone("reading");
  section.querySelector("h3").textContent = title;
  if (!reading.confident) {
    const why = section.querySelector(".why-unsure");
    why.textContent = whyUnsure(reading);
    why.hidden = false;
  }
  const bars = Object.entries(reading.probabilities).map(([name, probability]) =>
    bar(name, probability, reading.confident && name === reading.label),
  );
  section.querySelector(".bars").append(...bars);
  return section;
}

function whyUnsure(reading) {
  const [first, second] = Object.entries(reading.probabilities).sort((a, b) => b[1] - a[1]);
  return text("why_unsure", {
    first: className(first[0]),
    first_probability: formatProbability(first[1]),
    second: className(second[0]),
    second_probability: formatProbability(second[1]),
  });
}

function bar(name, probability, answered) {
  const row = clone("bar");
  row.classList.toggle("answered", answered);
  row.querySelector(".bar-name").textContent = className(name);
  row.querySelector(".bar-value").textContent = formatProbability(probability);
  row.querySelector(".bar-fill").style.setProperty("width", `${probability * 100}%`);
  return row;
}

function clone(name) {
  return document.getElementById(name).content.firstElementChild.cloneNode(true);
}

function isOpen(card) {
  return card.querySelector(".face-card-head button").getAttribute("aria-expanded") === "true";
}

function setOpen(card, open) {
  card.querySelector(".face-card-head button").setAttribute("aria-expanded", String(open));
  card.querySelector(".face-card-body").hidden = !open;
}

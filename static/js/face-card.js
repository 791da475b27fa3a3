// What the cards of the photo page and of the live page share: a face's summary and its bars.

import { clone, write } from "./dom.js";
import { colourOf, predictionProbability, predictionWord, predictionWords, whyUnsure } from "./faces.js";
import { className, formatProbability, text } from "./language.js";

/** Return the tasks of a face's predictions. */
export const tasksOf = (face) => Object.keys(face).filter((name) => face[name]?.probabilities);

/** Create a card from the page's template. */
export function createCard(number, onClick) {
  const card = clone("face-card");
  card.style.setProperty("--tone", colourOf(number - 1));
  card.querySelector(".face-number").textContent = String(number);
  card.querySelector("button").addEventListener("click", onClick);
  return card;
}

/** Write a face's summary into its card. */
export function updateSummary(card, face, number) {
  const { expression, gender } = face;
  write(card.querySelector(".face-label"), expression ? predictionWord(expression) : text("face", { number }));
  write(card.querySelector(".face-sublabel"), gender ? `${text("gender")}: ${predictionWords(gender)}` : "");
  write(card.querySelector(".face-probability"), predictionProbability(expression));
  if (expression) updateWhy(card.querySelector(".why-unsure"), expression);
  card.querySelector("use").setAttribute("href", `#icon-${expression?.confident ? expression.label : "unsure"}`);
}

/** Write why a prediction is not confident, and hide the place where it is. */
export function updateWhy(place, prediction) {
  if (!place) return;
  write(place, whyUnsure(prediction));
  place.hidden = prediction.confident;
}

/** Write a prediction's probabilities into a list of bars. */
export function updateBars(list, { probabilities, confident, label }) {
  const bars = Object.entries(probabilities);
  drawBars(list, bars.map(([name, share]) => ({ words: className(name), share, answered: confident && name === label })));
}

/** Write shares into a list of bars. */
export function drawBars(list, bars) {
  if (list.children.length !== bars.length) list.replaceChildren(...bars.map(() => clone("bar")));
  bars.forEach(({ words, share, answered }, index) => {
    const bar = list.children[index];
    bar.classList.toggle("answered", answered);
    write(bar.querySelector(".bar-name"), words);
    write(bar.querySelector(".bar-value"), formatProbability(share));
    bar.querySelector(".bar-fill").style.setProperty("width", `${share * 100}%`);
  });
}

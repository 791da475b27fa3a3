// What was learned, in words and pictures.

import { clone, element, make, write } from "../dom.js";
import { formatNumber, formatProbability, formatShare, text } from "../language.js";
import { advise } from "./advice.js";
import { describeCurves, showCurves } from "./curve.js";
import { costOf } from "./figures.js";

const limit = element("limit");
let outcomes = null;
let limitIsOwn = false; // set by the visitor, not by the figures

limit.addEventListener("input", () => {
  limitIsOwn = true;
  showCost();
});

/** The limit below which an answer is "unsure", as the visitor set it. */
export const threshold = () => Number(limit.value);

/** Hide the figures, and say why there are none yet. */
export function showNothing(sentence) {
  outcomes = null;
  limitIsOwn = false;
  element("figures").hidden = true;
  write(element("figures-note"), sentence);
}

/**
 * Show a lesson's figures.
 * @param classes the taught classes, with their `name`, `count` and `recordings`
 * @param figures as `measure` returns them
 * @param sampleOf returns the sample of an index
 */
export function showFigures(classes, figures, sampleOf) {
  const { honest, mixed, confusion, curves, hardest } = figures;
  const advice = advise({ classes, figures }).map(([path, values]) => text(`advice.${path}`, values));
  element("advice").replaceChildren(...advice.map((words) => make("li", {}, words)));
  if (!figures.outcomes) return showNothing(text("more_samples"));
  if (!limitIsOwn) limit.value = String(figures.threshold);
  outcomes = figures.outcomes;
  write(element("figures-note"), honest ? "" : text("not_honest"));
  element("figures").hidden = false;
  showShare("honest", honest, "of_recordings");
  showShare("mixed", mixed, "of_samples");
  showConfusion(classes, confusion);
  showCurves(curves, 1 / classes.length);
  element("curve-key-pixels").hidden = !curves.pixels;
  write(element("curve-words"), describeCurves(curves));
  showHardest(classes, figures, hardest.map((at) => ({ ...outcomes[at], sample: sampleOf(at) })));
  write(element("temperature"), text("temperature", { strength: formatNumber(figures.strength), temperature: formatNumber(figures.temperature) }));
  showCost();
}

function showShare(id, measured, basis) {
  element(id).hidden = !measured;
  if (!measured) return;
  const { accuracy, low, high, count, groups } = measured;
  const part = (name) => element(id).querySelector(`.share-${name}`);
  part("fill").style.setProperty("width", `${accuracy * 100}%`);
  part("interval").style.setProperty("left", `${low * 100}%`);
  part("interval").style.setProperty("width", `${(high - low) * 100}%`);
  const values = { share: formatShare(accuracy), low: formatShare(low), high: formatShare(high) };
  write(part("words"), `${text("right", values)} ${text(basis, { count: formatNumber(count), recordings: formatNumber(groups) })}`);
}

function showConfusion(classes, confusion) {
  const [head, body] = document.querySelectorAll(".confusion thead tr, .confusion tbody");
  const heading = (words, scope) => make("th", { scope }, words);
  head.replaceChildren(make("td"), ...classes.map(({ name }) => heading(name, "col")));
  const rows = confusion.map((row, r) => {
    const total = row.reduce((sum, each) => sum + each);
    const cells = row.map((count) => {
      const cell = make("td", { className: "number" }, formatNumber(count));
      cell.style.setProperty("--share", `${Math.round((60 * count) / total)}%`);
      return cell;
    });
    return make("tr", {}, heading(classes[r].name, "row"), ...cells);
  });
  body.replaceChildren(...rows);
}

function showHardest(classes, { outcomes: all }, hardest) {
  const items = hardest.map(({ sample, predicted, probability, own, right }) => {
    const item = clone("hard-sample");
    item.querySelector("img").src = sample.thumbnail;
    const values = { label: sample.kind.name, taken: classes[predicted].name, probability: formatProbability(right ? own : probability) };
    write(item.querySelector("span"), text(right ? "hard_right" : "hard_wrong", values));
    return item;
  });
  element("hardest").replaceChildren(...items);
  write(element("hardest-count"), text("wrong_count", { wrong: formatNumber(all.filter((each) => !each.right).length), count: formatNumber(all.length) }));
}

function showCost() {
  write(element("limit-value"), formatProbability(threshold()));
  if (!outcomes) return;
  const { answered, right } = costOf(outcomes, threshold());
  write(element("limit-cost"), text(answered ? "cost" : "cost_all", { answered: formatShare(answered), right: formatShare(right) }));
}

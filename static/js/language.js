// The reader's language: every sentence of the page, and numbers written as that language writes them.

const strings = JSON.parse(document.getElementById("strings").textContent);
const language = document.documentElement.lang;

const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const milliseconds = new Intl.NumberFormat(language, {
  style: "unit",
  unit: "millisecond",
  maximumFractionDigits: 1,
});
const share = new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const choices = new Intl.ListFormat(language, { type: "disjunction" });
const plurals = new Intl.PluralRules(language);

const PLACEHOLDER = /{(\w+)}/g;
const SMALLEST_SHOWN = 0.01;

/** Look up a string by its path ("camera.denied") and fill its places. */
export function text(path, values = {}) {
  const template = path.split(".").reduce((branch, name) => branch[name], strings);
  return fill(template, values);
}

/** Say how many faces were found. */
export function facesFound(count) {
  const forms = strings.found;
  return fill(forms[plurals.select(count)] ?? forms.other, { count: number.format(count) });
}

/** Name a class; a class that this page does not know keeps the model's own word. */
export function className(name) {
  return strings.labels[name] ?? name;
}

/** Name what a model reads; a model that this page does not know keeps its own name. */
export function taskName(name) {
  return strings.tasks[name] ?? name;
}

/** Name a step of the analysis. */
export function stepName(name) {
  return strings.steps[name] ?? name;
}

/** Say what was wrong, what the limit is and what to do; else the server's own detail. */
export function refusalSentence(problem) {
  const template = strings.refusals[problem.code];
  if (!template) return problem.detail || strings.refusals.internal;
  const places = [...template.matchAll(PLACEHOLDER)].map((match) => match[1]);
  if (!places.every((place) => place in problem)) return problem.detail || strings.refusals.internal;
  return fill(template, Object.fromEntries(places.map((place) => [place, written(problem[place])])));
}

/** Write a probability as a whole percentage, and never as 0 % or 100 %. */
export function formatProbability(value) {
  if (value < SMALLEST_SHOWN) return `<${percent.format(SMALLEST_SHOWN)}`;
  if (value > 1 - SMALLEST_SHOWN) return `>${percent.format(1 - SMALLEST_SHOWN)}`;
  return percent.format(value);
}

export function formatNumber(value) {
  return number.format(value);
}

/** Write a share as a percentage with one decimal, as the server does. */
export function formatShare(value) {
  return share.format(value);
}

/** Write a number with two decimals, as the server does. */
export function formatHundredths(value) {
  return hundredths.format(value);
}

export function formatMilliseconds(value) {
  return milliseconds.format(value);
}

function written(value) {
  if (Array.isArray(value)) return choices.format(value.map(String));
  return typeof value === "number" ? number.format(value) : String(value);
}

function fill(template, values) {
  return template.replace(PLACEHOLDER, (place, name) => (name in values ? String(values[name]) : place));
}

// The strings of the page, and numbers formatted for its language.

const strings = JSON.parse(document.getElementById("strings").textContent);
export const language = document.documentElement.lang;

const formatter = (options) => new Intl.NumberFormat(language, options).format;
const decimals = (count) => ({ minimumFractionDigits: count, maximumFractionDigits: count });
const percent = formatter({ style: "percent" });
const choices = new Intl.ListFormat(language, { type: "disjunction" });
const plurals = new Intl.PluralRules(language);

const PLACEHOLDER = /{(\w+)}/g;
const SMALLEST_SHOWN = 0.01;

export const formatNumber = formatter({ maximumFractionDigits: 1 });
export const formatMilliseconds = formatter({ style: "unit", unit: "millisecond", maximumFractionDigits: 1 });
/** Format a share as a percentage with one decimal, as the server does. */
export const formatShare = formatter({ style: "percent", ...decimals(1) });
/** Format a number with two decimals, as the server does. */
export const formatHundredths = formatter(decimals(2));

/** Format a time of day. */
export const formatTime = new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format;

/** Look up a string by its path ("camera.denied") and fill its placeholders. */
export function text(path, values = {}) {
  const template = path.split(".").reduce((branch, name) => branch[name], strings);
  return fill(template, values);
}

/** Return how many faces were found, in words. */
export const facesFound = (count) =>
  fill(strings.found[plurals.select(count)] ?? strings.found.other, { count: formatNumber(count) });

// A name without a translation stays as the model or the API writes it.
export const className = (name) => strings.labels[name] ?? name;
export const taskName = (name) => strings.tasks[name] ?? name;
export const stepName = (name) => strings.steps[name] ?? name;

/** Return the sentence for a problem document, or its own detail where a placeholder has no value. */
export function problemSentence(problem) {
  const template = strings.errors[problem.code];
  const names = [...(template ?? "").matchAll(PLACEHOLDER)].map((match) => match[1]);
  if (!template || !names.every((name) => name in problem)) return problem.detail || strings.errors.internal;
  return fill(template, Object.fromEntries(names.map((name) => [name, formatValue(problem[name])])));
}

/** Format a probability as a whole percentage, and never as 0 % or 100 %. */
export function formatProbability(value) {
  if (value < SMALLEST_SHOWN) return `<${percent(SMALLEST_SHOWN)}`;
  if (value > 1 - SMALLEST_SHOWN) return `>${percent(1 - SMALLEST_SHOWN)}`;
  return percent(value);
}

function formatValue(value) {
  if (Array.isArray(value)) return choices.format(value.map(String));
  return typeof value === "number" ? formatNumber(value) : String(value);
}

const fill = (template, values) => template.replace(PLACEHOLDER, (placeholder, name) => String(values[name] ?? placeholder));

// The steps page: sends the form without leaving the page, and shows the server's answer.

import { element } from "../dom.js";
import { problemSentence, text } from "../language.js";
import { checkSize, parse, post, ServiceError } from "../service.js";
import { wireBlock } from "./channels.js";
import { wireConvolution } from "./convolution.js";
import { markCurrentStep, navigateByKeys } from "./navigation.js";
import { wireTemperature } from "./temperature.js";

const form = element("steps-form");
const outcome = element("outcome");

// Changes that follow each other at once are one wish.
const SETTLE_MS = 250;

// The current request: another wish aborts it, so that no older answer covers a newer one; the same
// wish waits for its answer.
let current = null;
let settling = 0;

form.addEventListener("submit", (event) => {
  // The browser itself saves the ZIP file.
  if ("download" in (event.submitter?.dataset ?? {})) return;
  event.preventDefault();
  show(true);
});
form.addEventListener("change", () => {
  clearTimeout(settling);
  if (form.checkValidity()) settling = setTimeout(show, SETTLE_MS, false);
});
outcome.addEventListener("click", (event) => {
  const { field, face } = event.target.closest("[data-face]")?.dataset ?? {};
  if (!face) return;
  event.preventDefault();
  element(field).value = face;
  show(true);
});
navigateByKeys(outcome);
wire();

async function show(moveFocus) {
  clearTimeout(settling);
  const wish = describeForm();
  if (current?.wish === wish) {
    current.moveFocus ||= moveFocus;
    return;
  }
  current?.abort.abort();
  const mine = { wish, moveFocus, abort: new AbortController() };
  current = mine;
  say(text("working"));
  outcome.setAttribute("aria-busy", "true");
  try {
    const page = await request(mine.abort.signal);
    if (current !== mine) return;
    outcome.replaceChildren(...page.getElementById("outcome").childNodes);
    wire();
    const problem = outcome.querySelector(".problem");
    const noFace = outcome.querySelector(".no-face h2")?.textContent;
    say(problem ? "" : (noFace ?? text("done")));
    if (mine.moveFocus || problem || noFace) (problem ?? (noFace ? element("status") : outcome.querySelector(".step")))?.scrollIntoView();
    if (mine.moveFocus) outcome.querySelector(".step")?.focus({ preventScroll: true });
  } catch (error) {
    if (current !== mine || error.name === "AbortError") return;
    outcome.replaceChildren();
    say(error instanceof ServiceError ? problemSentence(error.problem) : error.message);
  }
  current = null;
  outcome.removeAttribute("aria-busy");
}

function describeForm() {
  const values = [...new FormData(form)].map(([name, value]) =>
    // A field without a file has one that was changed just now.
    value.size ? [name, value.name, value.size, value.lastModified] : [name, String(value)],
  );
  return JSON.stringify(values);
}

async function request(signal) {
  const fields = new FormData(form);
  const bytes = ["image", "second"].reduce((sum, field) => sum + (fields.get(field)?.size ?? 0), 0);
  checkSize(bytes, Number(form.dataset.limitMb));
  const { response, body } = await post(form.action, fields, signal);
  if (response.headers.get("Content-Type")?.startsWith("text/html")) {
    return new DOMParser().parseFromString(body, "text/html");
  }
  throw new ServiceError(parse(body) ?? { code: "internal" });
}

function wire() {
  outcome.querySelectorAll(".block").forEach(wireBlock);
  outcome.querySelectorAll(".convolution").forEach(wireConvolution);
  outcome.querySelectorAll(".softmax").forEach(wireTemperature);
  markCurrentStep(outcome);
}

const say = (sentence) => (element("status").textContent = sentence);

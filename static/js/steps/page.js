// The steps page: sends the form without leaving the page, and shows what the server drew.

import { refusalSentence, text } from "../language.js";
import { wireChannels } from "./channels.js";
import { wireTemperatures } from "./temperature.js";
import { markCurrentStep, walkByKeys } from "./walk.js";

const BYTES_IN_MB = 1_000_000;

const element = (id) => document.getElementById(id);
const form = element("steps-form");
const outcome = element("outcome");

// The request under way; a newer one ends it, so that no older answer covers a newer one.
let current = null;

form.addEventListener("submit", (event) => {
  // The browser itself saves the ZIP file.
  if ("download" in (event.submitter?.dataset ?? {})) return;
  event.preventDefault();
  show(true);
});
form.addEventListener("change", () => {
  if (form.checkValidity()) show(false);
});
walkByKeys(outcome);
wire();

async function show(moveFocus) {
  current?.abort();
  const abort = new AbortController();
  current = abort;
  say(text("working"));
  outcome.setAttribute("aria-busy", "true");
  try {
    const page = await request(abort.signal);
    if (current !== abort) return;
    outcome.replaceChildren(...page.getElementById("outcome").childNodes);
    wire();
    const problem = outcome.querySelector(".problem");
    say(problem ? "" : text("done"));
    if (moveFocus || problem) (problem ?? outcome.querySelector(".step"))?.scrollIntoView();
    if (moveFocus) outcome.querySelector(".step")?.focus({ preventScroll: true });
  } catch (error) {
    if (current !== abort || error.name === "AbortError") return;
    outcome.replaceChildren();
    say(error.message);
  }
  outcome.removeAttribute("aria-busy");
}

async function request(signal) {
  const fields = new FormData(form);
  checkSize(fields);
  const response = await answer(fetch(form.action, { method: "POST", body: fields, signal }));
  const body = await answer(response.text());
  if (!response.headers.get("Content-Type")?.startsWith("text/html")) throw new Error(spoken(body));
  return new DOMParser().parseFromString(body, "text/html");
}

// Better said at once than after a long upload.
function checkSize(fields) {
  const limit = Number(form.dataset.limitMb);
  const size = ["image", "second"].reduce((sum, field) => sum + (fields.get(field)?.size ?? 0), 0);
  if (size > limit * BYTES_IN_MB) {
    throw new Error(refusalSentence({ code: "image_too_large", limit_mb: limit }));
  }
}

async function answer(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(text("refusals.network"));
  }
}

function spoken(body) {
  try {
    return refusalSentence(JSON.parse(body));
  } catch {
    return text("refusals.internal");
  }
}

function wire() {
  wireChannels(outcome);
  wireTemperatures(outcome);
  markCurrentStep(outcome);
}

function say(sentence) {
  element("status").textContent = sentence;
}

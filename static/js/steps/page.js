// The steps page: sends the form without leaving the page, and shows the server's answer.

import { element } from "../dom.js";
import { problemSentence, text } from "../language.js";
import { checkSize, parse, post, ServiceError } from "../service.js";
import { wireChannels } from "./channels.js";
import { markCurrentStep, navigateByKeys } from "./navigation.js";
import { wireTemperatures } from "./temperature.js";

const form = element("steps-form");
const outcome = element("outcome");

// The current request; a newer one aborts it, so that no older answer covers a newer one.
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
navigateByKeys(outcome);
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
    say(error instanceof ServiceError ? problemSentence(error.problem) : error.message);
  }
  outcome.removeAttribute("aria-busy");
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
  wireChannels(outcome);
  wireTemperatures(outcome);
  markCurrentStep(outcome);
}

function say(sentence) {
  element("status").textContent = sentence;
}

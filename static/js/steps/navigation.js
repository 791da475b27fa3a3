// Arrow keys go from step to step; the list of steps marks the one in view.

import { markCurrent } from "../dom.js";

const MOVES = { ArrowRight: 1, ArrowLeft: -1 };
// These use the arrow keys themselves.
const OWN_KEYS = "input, select, textarea, pre, .table-scroll";

export function navigateByKeys(root) {
  document.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest(OWN_KEYS)) return;
    const steps = [...root.querySelectorAll(".step")];
    const next = steps[currentStep(steps) + move];
    if (!next) return;
    event.preventDefault();
    history.replaceState(null, "", `#${next.id}`);
    // During a smooth scroll, a second key press would start from the wrong step.
    next.scrollIntoView({ behavior: "instant" });
    next.focus({ preventScroll: true });
  });
}

export function markCurrentStep(root) {
  const steps = [...root.querySelectorAll(".step")];
  const links = [...root.querySelectorAll(".steps-nav a")];
  const watcher = new IntersectionObserver(() => {
    markCurrent(links, stepInView(steps), "step");
  }, { rootMargin: "-20% 0% -60% 0%" });
  steps.forEach((step) => watcher.observe(step));
  markCurrent(links, stepInView(steps), "step");
}

// The step in focus goes first, unless the reader has scrolled it out of sight.
function currentStep(steps) {
  const focused = steps.findIndex((step) => step.contains(document.activeElement));
  if (focused < 0) return stepInView(steps);
  const { top, bottom } = steps[focused].getBoundingClientRect();
  return bottom > 0 && top < window.innerHeight ? focused : stepInView(steps);
}

// The last step that begins above the window's upper third; before the first, the first.
function stepInView(steps) {
  const line = window.innerHeight / 3;
  return Math.max(0, steps.findLastIndex((step) => step.getBoundingClientRect().top <= line));
}

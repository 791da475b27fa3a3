// From step to step by the arrow keys, and the step in view marked in the list of steps.

const MOVES = { ArrowRight: 1, ArrowLeft: -1 };
// These have their own use for arrow keys.
const OWN_KEYS = "input, select, textarea, pre, .table-scroll";

export function walkByKeys(root) {
  document.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest(OWN_KEYS)) return;
    const steps = [...root.querySelectorAll(".step")];
    const next = steps[currentStep(steps) + move];
    if (!next) return;
    event.preventDefault();
    history.replaceState(null, "", `#${next.id}`);
    // Smoothly, a second key press would find the page still on its way.
    next.scrollIntoView({ behavior: "instant" });
    next.focus({ preventScroll: true });
  });
}

export function markCurrentStep(root) {
  const steps = [...root.querySelectorAll(".step")];
  const links = [...root.querySelectorAll(".walk-map a")];
  const watcher = new IntersectionObserver(() => {
    const at = stepInView(steps);
    links.forEach((link, index) => {
      if (index === at) link.setAttribute("aria-current", "step");
      else link.removeAttribute("aria-current");
    });
  }, { rootMargin: "-20% 0% -60% 0%" });
  steps.forEach((step) => watcher.observe(step));
}

// The step in focus goes first, unless the reader has scrolled it out of sight.
function currentStep(steps) {
  const focused = steps.findIndex((step) => step.contains(document.activeElement));
  if (focused < 0) return stepInView(steps);
  const { top, bottom } = steps[focused].getBoundingClientRect();
  return bottom > 0 && top < window.innerHeight ? focused : stepInView(steps);
}

// The last step that begins above the window's upper third; before the first there is none.
function stepInView(steps) {
  const line = window.innerHeight / 3;
  return steps.findLastIndex((step) => step.getBoundingClientRect().top <= line);
}

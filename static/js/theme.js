// Runs in the head, before the first paint, so that no page flashes in the wrong colours.
(() => {
  const KEY = "raut_colours";
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  const systemTheme = () => (system.matches ? "dark" : "light");

  // Storage throws where the reader has blocked it; the switch then lasts for this page only.
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };

  const store = (theme) => {
    try {
      // A choice equal to the system's is no choice: the page follows the system again.
      if (theme === systemTheme()) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Nothing to keep it in.
    }
  };

  const show = (theme) => {
    root.dataset.bsTheme = theme;
    document.getElementById("theme-switch")?.setAttribute("aria-pressed", String(theme === "dark"));
  };

  show(stored() ?? systemTheme());
  system.addEventListener("change", () => show(stored() ?? systemTheme()));

  // The page's scripts are modules; without them the plain form must stay in view.
  if ("noModule" in HTMLScriptElement.prototype) root.classList.add("script");

  document.addEventListener("DOMContentLoaded", () => {
    show(root.dataset.bsTheme);
    document.getElementById("theme-switch").addEventListener("click", () => {
      const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
      store(theme);
      show(theme);
    });
  });
})();

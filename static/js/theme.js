// Runs in the head, before the first paint, so that no page flashes in the wrong colours.
(() => {
  const KEY = "raut_colours";
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const systemTheme = () => (system.matches ? "dark" : "light");

  // Storage throws where the visitor has blocked it; the choice then lasts for this page only.
  const storage = (use) => {
    try {
      return use(localStorage);
    } catch {
      return null;
    }
  };

  const show = (theme = storage((store) => store.getItem(KEY)) ?? systemTheme()) => {
    root.dataset.bsTheme = theme;
    document.getElementById("theme-switch")?.setAttribute("aria-pressed", String(theme === "dark"));
  };

  show();
  system.addEventListener("change", () => show());

  // The page's scripts are modules; a browser without them keeps the plain form.
  if ("noModule" in HTMLScriptElement.prototype) root.classList.add("script");

  document.addEventListener("DOMContentLoaded", () => {
    show(root.dataset.bsTheme);
    document.getElementById("theme-switch").addEventListener("click", () => {
      const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
      // A choice equal to the system's is removed, so that the page follows the system again.
      storage((store) => (theme === systemTheme() ? store.removeItem(KEY) : store.setItem(KEY, theme)));
      show(theme);
    });
  });
})();

// The theme: the system's, until the operator chooses one. Loaded before the first paint.
(() => {
  const KEY = "breakwater-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // the browser may forbid storage; then the system's theme applies
    }
  }

  function apply() {
    root.dataset.theme = chosen() ?? (system.matches ? "dark" : "light");
    dispatchEvent(new Event("breakwater-theme"));
  }

  apply();
  system.addEventListener("change", apply);
  globalThis.breakwaterTheme = {
    toggle() {
      try {
        localStorage.setItem(KEY, root.dataset.theme === "dark" ? "light" : "dark");
      } catch {
        return;
      }
      apply();
    },
  };
})();

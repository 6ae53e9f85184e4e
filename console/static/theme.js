// Light or dark: as the system has it, until the operator chooses. Loaded before anything is drawn.
(() => {
  const KEY = "breakwater-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden; the system's choice is good enough
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

// Sets the theme before the first paint, so that a dark page never flashes white.
// It is a file of its own because the page's policy allows no inline scripts.
(() => {
  let stored = null;
  try {
    stored = localStorage.getItem("ensemble.theme");
  } catch {
    // Storage can be switched off; the system's choice is used then.
  }
  const dark =
    stored === "dark" || (stored !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();

// Light, dark, or as the system has it. Only this choice outlives the tab.

import { byId } from "./dom.js";

const KEY = "federation-board-theme";
const THEMES = ["auto", "light", "dark"];
const SHOWN = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };

function chosen() {
  const found = localStorage.getItem(KEY);
  return THEMES.includes(found) ? found : "auto";
}

export function showTheme() {
  const theme = chosen();
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = SHOWN[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${theme}`);
}

export function nextTheme() {
  localStorage.setItem(KEY, THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length]);
  showTheme();
}

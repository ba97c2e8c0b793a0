/** What this browser is set to: theme, and how the project page is laid out. */

import { createStore } from "zustand/vanilla";
import { recall, remember } from "../core/memory.ts";

export type ThemeChoice = "system" | "light" | "dark";
export type MobilePanel = "files" | "editor" | "agent";

export interface Settings {
  theme: ThemeChoice;
  filesOpen: boolean;
  agentOpen: boolean;
  /** Hunks that wait for a verdict are marked in the text. */
  reviewShown: boolean;
  /** A bar beside every line says who wrote it. */
  authorsShown: boolean;
  /** On narrow screens one panel is shown at a time. */
  mobilePanel: MobilePanel;
}

function readTheme(): ThemeChoice {
  const stored = recall("theme");
  return stored === "light" || stored === "dark" ? stored : "system";
}

export const settings = createStore<Settings>(() => ({
  theme: readTheme(),
  filesOpen: recall("files") !== "closed",
  agentOpen: recall("agent") !== "closed",
  reviewShown: recall("review") !== "closed",
  authorsShown: recall("authors") !== "closed",
  mobilePanel: "editor",
}));

/** Chooses a theme; `system` follows the system from now on. */
export function setTheme(theme: ThemeChoice): void {
  remember("theme", theme === "system" ? null : theme);
  settings.setState({ theme });
  applyTheme();
}

export function setPanel(panel: "files" | "agent", open: boolean): void {
  remember(panel, open ? null : "closed");
  settings.setState(panel === "files" ? { filesOpen: open } : { agentOpen: open });
}

/** Shows or hides what turns did, or who wrote what. */
export function setMarks(marks: "review" | "authors", shown: boolean): void {
  remember(marks, shown ? null : "closed");
  settings.setState(marks === "review" ? { reviewShown: shown } : { authorsShown: shown });
}

export function showMobilePanel(mobilePanel: MobilePanel): void {
  settings.setState({ mobilePanel });
}

/** Puts the theme on the page and keeps it there when the system changes its mind. */
export function applyTheme(): void {
  const { theme } = settings.getState();
  const dark =
    theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

/** Follows the system's theme while that is the choice. */
export function followSystemTheme(): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
  applyTheme();
}

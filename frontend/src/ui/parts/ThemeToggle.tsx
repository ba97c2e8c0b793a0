import { Monitor, Moon, Sun } from "lucide-react";
import { useStore } from "zustand";
import { setTheme, settings, type ThemeChoice } from "../../state/settings.ts";
import { IconButton } from "./Button.tsx";

const NEXT: Record<ThemeChoice, ThemeChoice> = { system: "light", light: "dark", dark: "system" };
const LABEL: Record<ThemeChoice, string> = {
  system: "Theme: as the system",
  light: "Theme: light",
  dark: "Theme: dark",
};

export function ThemeToggle() {
  const theme = useStore(settings, (state) => state.theme);
  const icon = theme === "system" ? Monitor : theme === "light" ? Sun : Moon;
  return <IconButton label={LABEL[theme]} icon={icon} onClick={() => setTheme(NEXT[theme])} />;
}

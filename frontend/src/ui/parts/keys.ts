const MAC = /Mac|iPhone|iPad/.test(navigator.platform);

const SIGNS: Record<string, string> = MAC
  ? { Mod: "⌘", Alt: "⌥", Shift: "⇧", Enter: "↩" }
  : { Mod: "Ctrl", Alt: "Alt", Shift: "Shift", Enter: "↵" };

/** A key with its modifiers, as this system writes them: `Mod Alt Enter`. */
export function keyName(key: string): string {
  return key
    .split(" ")
    .map((part) => SIGNS[part] ?? part)
    .join(MAC ? "" : " ");
}

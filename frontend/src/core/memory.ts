/** What this browser remembers. Storage can be full or switched off; then nothing is kept. */

const PREFIX = "ensemble.";

/** A remembered value, or `null`. */
export function recall(key: string): string | null {
  try {
    return localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

/** Remembers a value; `null` forgets it. */
export function remember(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, value);
  } catch {
    // Not remembering is all that can be done, and nothing depends on it.
  }
}

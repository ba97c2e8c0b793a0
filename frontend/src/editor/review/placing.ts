/** From what a turn did, in ids of units, to places in the text at hand. */

import type { DeletedUnits } from "../../core/protocol.ts";
import type { UnitIndex, UnitRange } from "../../core/units.ts";

/** A hunk that waits for a verdict. */
export interface ReviewHunk {
  /** Names it among the hunks of all turns. */
  readonly key: string;
  readonly turn: string;
  readonly hunk: string;
  /** Whose turn it was, as people read it. */
  readonly agent: string;
  readonly inserted: readonly UnitRange[];
  readonly deleted: readonly DeletedUnits[];
}

/** Text that is not there any more, and where it was. */
export interface Removed {
  readonly at: number;
  readonly text: string;
}

/** A hunk in the text. */
export interface PlacedHunk {
  readonly hunk: ReviewHunk;
  /** Where it begins: what it inserted or deleted first. */
  readonly from: number;
  readonly to: number;
  /** Visible text it inserted, in the order of the text. */
  readonly inserted: readonly { readonly from: number; readonly to: number }[];
  readonly removed: readonly Removed[];
}

/** Finds hunks in a text; `missing` says that some of them name units the text does not have yet. */
export function placeHunks(
  index: UnitIndex,
  hunks: readonly ReviewHunk[],
): { placed: PlacedHunk[]; missing: boolean } {
  const placed: PlacedHunk[] = [];
  let missing = false;
  for (const hunk of hunks) {
    const inserted = hunk.inserted
      .flatMap((range) => {
        if (!index.find(range.client, range.clock)) missing = true;
        return index.visible(range);
      })
      .sort((a, b) => a.from - b.from);
    const gone: { at: number; order: number; text: string }[] = [];
    for (const range of hunk.deleted) {
      let known = 0;
      // Units with neighbouring ids need not have been neighbours in the text.
      for (const { run, clock, length } of index.parts(range)) {
        known += length;
        if (!run.deleted) missing = true;
        else {
          const start = clock - range.clock;
          const text = range.text.slice(start, start + length);
          gone.push({ at: run.at, order: run.order, text });
        }
      }
      if (known < range.length) missing = true;
    }
    gone.sort((a, b) => a.order - b.order);
    const removed: { at: number; text: string }[] = [];
    for (const { at, text } of gone) {
      const last = removed.at(-1);
      // One sentence can be of many hands; where it was, it is shown as one.
      if (last?.at === at) last.text += text;
      else removed.push({ at, text });
    }
    for (const each of removed) {
      // What replaced it stands before it in the text, and is read after it.
      each.at = inserted.find(({ to }) => to === each.at)?.from ?? each.at;
    }
    const starts = [inserted[0]?.from, removed[0]?.at].filter((at) => at !== undefined);
    if (starts.length === 0) continue;
    const from = Math.min(...starts);
    const to = Math.max(from, inserted.at(-1)?.to ?? 0, removed.at(-1)?.at ?? 0);
    placed.push({ hunk, from, to, inserted, removed });
  }
  placed.sort((a, b) => a.from - b.from || a.to - b.to);
  return { placed, missing };
}

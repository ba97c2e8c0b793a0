/** What one copy of a document has and another lacks, found by the ids of its units. */

import type * as Y from "yjs";
import { UnitIndex } from "./units.ts";

/** A range of a text and what replaces it. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly insert: string;
}

/** What is only in one copy. */
export interface OnlyHere {
  /** Edits on the other copy's text, in its order and apart from each other. */
  readonly edits: readonly Edit[];
  /** The copies have different text under the same ids, so the edits may not be where they belong. */
  readonly conflict: boolean;
}

/**
 * What `mine` has typed and deleted that `theirs` does not know, as edits on the text of `theirs`.
 * What `theirs` has in addition stays: the edits are those a merge would have made.
 */
export function onlyIn(mine: Y.Text, theirs: Y.Text): OnlyHere {
  const known = UnitIndex.of(theirs);
  const edits: { from: number; to: number; insert: string }[] = [];
  let conflict = false;
  // Where in `theirs` what comes next in `mine` belongs.
  let place = 0;
  const add = (from: number, to: number, insert: string) => {
    const last = edits.at(-1);
    if (last && from <= last.to) {
      last.to = Math.max(last.to, to);
      last.insert += insert;
    } else edits.push({ from, to, insert });
  };
  for (const run of UnitIndex.of(mine).runs) {
    for (let done = 0; done < run.length; ) {
      const other = known.find(run.client, run.clock + done);
      if (!other) {
        if (!run.deleted) add(place, place, run.text.charAt(done));
        done += 1;
        continue;
      }
      const offset = run.clock + done - other.clock;
      const length = Math.min(run.length - done, other.length - offset);
      if (other.deleted) place = other.at;
      else {
        const from = other.at + offset;
        place = from + length;
        if (run.deleted) add(from, place, "");
        else if (
          run.text.slice(done, done + length) !== other.text.slice(offset, offset + length)
        ) {
          conflict = true;
        }
      }
      done += length;
    }
  }
  return { edits, conflict };
}

/** A text with edits applied. */
export function applyEdits(text: string, edits: readonly Edit[]): string {
  let result = "";
  let done = 0;
  for (const { from, to, insert } of edits) {
    result += text.slice(done, from) + insert;
    done = to;
  }
  return result + text.slice(done);
}

/** Lines shown around a change. */
const CONTEXT = 3;

/** Edits on a text as a unified diff, as `patch` and every review tool read it. */
export function unifiedDiff(path: string, text: string, edits: readonly Edit[]): string {
  const lines = text.split("\n");
  const starts = [0];
  for (const line of lines) starts.push((starts.at(-1) ?? 0) + line.length + 1);
  const lineAt = (position: number) => {
    let low = 0;
    let high = lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] ?? 0) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  // Edits that touch the same lines are one change of whole lines.
  const changes: { first: number; last: number; edits: Edit[] }[] = [];
  for (const edit of edits) {
    const [first, last] = [lineAt(edit.from), lineAt(edit.to)];
    const before = changes.at(-1);
    if (before && first <= before.last) {
      before.last = Math.max(before.last, last);
      before.edits.push(edit);
    } else changes.push({ first, last, edits: [edit] });
  }
  const groups: (typeof changes)[] = [];
  for (const change of changes) {
    const group = groups.at(-1);
    const before = group?.at(-1);
    if (group && before && change.first - before.last <= 2 * CONTEXT) group.push(change);
    else groups.push([change]);
  }
  let shift = 0;
  const out = [`--- a/${path}`, `+++ b/${path}`];
  for (const group of groups) {
    const begin = Math.max(0, (group[0]?.first ?? 0) - CONTEXT);
    const end = Math.min(lines.length - 1, (group.at(-1)?.last ?? 0) + CONTEXT);
    const body: string[] = [];
    let added = 0;
    let removed = 0;
    let next = begin;
    for (const { first, last, edits: own } of group) {
      for (; next < first; next++) body.push(` ${lines[next]}`);
      const base = starts[first] ?? 0;
      const old = lines.slice(first, last + 1);
      const local = own.map(({ from, to, insert }) => ({
        from: from - base,
        to: to - base,
        insert,
      }));
      const fresh = applyEdits(old.join("\n"), local).split("\n");
      for (const line of old) body.push(`-${line}`);
      for (const line of fresh) body.push(`+${line}`);
      removed += old.length;
      added += fresh.length;
      next = last + 1;
    }
    for (; next <= end; next++) body.push(` ${lines[next]}`);
    const kept = end - begin + 1 - removed;
    out.push(
      `@@ -${begin + 1},${kept + removed} +${begin + 1 + shift},${kept + added} @@`,
      ...body,
    );
    shift += added - removed;
  }
  return `${out.join("\n")}\n`;
}

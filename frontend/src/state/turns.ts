/** Turns as plain values, read from their replica. */

import * as Y from "yjs";
import {
  decodeHunk,
  decodeTurnError,
  decodeTurnReview,
  decodeTurnStatus,
  decodeUsage,
} from "../core/decode.ts";
import type { Hunk, Turn } from "../core/protocol.ts";

/** Reads one turn; `null` when it is gone or has not the form of one. */
export function readTurn(id: string, value: unknown): Turn | null {
  if (!(value instanceof Y.Map)) return null;
  const read = (key: string): string | null => {
    const field: unknown = value.get(key);
    return typeof field === "string" ? field : null;
  };
  const answer: unknown = value.get("answer");
  const documents: unknown = value.get("documents");
  return {
    id,
    status: decodeTurnStatus(value.get("status")),
    agent: read("agent") ?? "",
    prompt: read("prompt") ?? "",
    by: read("by") ?? "",
    documents: Array.isArray(documents)
      ? documents.filter((entry): entry is string => typeof entry === "string")
      : [],
    created_at: read("created_at") ?? "",
    finished_at: read("finished_at"),
    usage: decodeUsage(value.get("usage")),
    error: decodeTurnError(value.get("error")),
    answer: answer instanceof Y.Text ? answer.toString() : typeof answer === "string" ? answer : "",
    hunks: readHunks(value.get("hunks")),
    review: decodeTurnReview(value.get("review")),
    agent_name: read("agent_name"),
  };
}

function readHunks(value: unknown): Hunk[] {
  if (!(value instanceof Y.Map)) return [];
  const hunks: Hunk[] = [];
  for (const [id, entry] of value) {
    const hunk = decodeHunk(id, entry);
    if (hunk) hunks.push(hunk);
  }
  return hunks.sort(
    (a, b) =>
      (a.path < b.path ? -1 : a.path > b.path ? 1 : 0) ||
      (a.line ?? Number.MAX_SAFE_INTEGER) - (b.line ?? Number.MAX_SAFE_INTEGER) ||
      (a.id < b.id ? -1 : 1),
  );
}

/** Oldest first. */
export function sortTurns(turns: Turn[]): Turn[] {
  const time = (turn: Turn) => Date.parse(turn.created_at) || 0;
  return turns.sort((a, b) => time(a) - time(b) || (a.id < b.id ? -1 : 1));
}

/** A turn that is still at work or waits to be. */
export function isLive(turn: Turn): boolean {
  return turn.status === "queued" || turn.status === "running";
}

/** A turn that has ended, has changed something, and waits for a verdict. */
export function isReviewable(turn: Turn): boolean {
  return (
    !isLive(turn) && turn.review === "open" && turn.hunks.some((hunk) => hunk.state === "applied")
  );
}

export interface HunkTotals {
  applied: number;
  missed: number;
  inserted: number;
  deleted: number;
}

/** What a turn's hunks come to. */
export function totals(turn: Turn): HunkTotals {
  const sum: HunkTotals = { applied: 0, missed: 0, inserted: 0, deleted: 0 };
  for (const hunk of turn.hunks) {
    if (hunk.state === "missed") sum.missed += 1;
    else {
      sum.applied += 1;
      sum.inserted += hunk.inserted;
      sum.deleted += hunk.deleted;
    }
  }
  return sum;
}

/** What a turn did in one file. */
export interface TurnFile {
  path: string;
  hunks: Hunk[];
  inserted: number;
  deleted: number;
}

/** A turn's hunks by file, files and hunks in their order. */
export function byFile(turn: Turn): TurnFile[] {
  const files = new Map<string, TurnFile>();
  for (const hunk of turn.hunks) {
    // A file that was renamed meanwhile is still one.
    const key = hunk.document ?? `path ${hunk.path}`;
    const file = files.get(key) ?? { path: hunk.path, hunks: [], inserted: 0, deleted: 0 };
    files.set(key, file);
    file.hunks.push(hunk);
    if (hunk.state === "missed" || hunk.state === "reverted") continue;
    file.inserted += hunk.inserted;
    file.deleted += hunk.deleted;
  }
  return [...files.values()];
}

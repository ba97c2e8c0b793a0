import { describe, expect, it } from "vitest";
import * as Y from "yjs";
import type { Hunk, Turn } from "../core/protocol.ts";
import { readPeers } from "./peers.ts";
import { byFile, isLive, isReviewable, readTurn, sortTurns, totals } from "./turns.ts";

function turnMap(
  fields: Record<string, unknown>,
  hunks: Record<string, unknown> = {},
): Y.Map<unknown> {
  const doc = new Y.Doc();
  const map = new Y.Map<unknown>();
  doc.getMap("turns").set("t", map);
  const answer = new Y.Text("Working.");
  map.set("answer", answer);
  const hunkMap = new Y.Map<unknown>();
  map.set("hunks", hunkMap);
  for (const [id, hunk] of Object.entries(hunks)) hunkMap.set(id, hunk);
  for (const [key, value] of Object.entries(fields)) map.set(key, value);
  return map;
}

const read = (map: unknown): Turn => {
  const turn = readTurn("t", map);
  if (!turn) throw new Error("it is a turn");
  return turn;
};

describe("turns", () => {
  it("are read from the replica, with their hunks in the order of the text", () => {
    const turn = read(
      turnMap(
        {
          status: "done",
          agent: "agent",
          prompt: "rename",
          by: "m",
          documents: ["d"],
          review: "open",
        },
        {
          b: { document: "d", path: "a.py", state: "applied", line: 20, inserted: 3, deleted: 5 },
          a: { document: "d", path: "a.py", state: "applied", line: 3, inserted: 8, deleted: 5 },
          c: { document: "d", path: "a.py", state: "missed", reason: "in two places" },
          later: { state: "unknown" },
        },
      ),
    );
    expect(turn.answer).toBe("Working.");
    expect(turn.hunks.map((hunk) => hunk.id)).toEqual(["a", "b", "c"]);
    expect(totals(turn)).toEqual({ applied: 2, missed: 1, inserted: 11, deleted: 10 });
    expect(isReviewable(turn)).toBe(true);
    expect(isLive(turn)).toBe(false);
  });

  it("can be reviewed only when they have ended and changed something", () => {
    const applied = { h: { state: "applied" } };
    expect(isReviewable(read(turnMap({ status: "running", review: "open" }, applied)))).toBe(false);
    expect(isReviewable(read(turnMap({ status: "done", review: "rejected" }, applied)))).toBe(
      false,
    );
    expect(isReviewable(read(turnMap({ status: "interrupted", review: "open" }, applied)))).toBe(
      true,
    );
    expect(isReviewable(read(turnMap({ status: "failed", review: "open" })))).toBe(false);
  });

  it("survive fields of other forms", () => {
    expect(readTurn("t", "text")).toBeNull();
    expect(read(turnMap({ status: 7, documents: "d", usage: "much", error: [] }))).toMatchObject({
      status: "failed",
      documents: [],
      usage: null,
    });
  });

  it("are listed oldest first", () => {
    const at = (id: string, created_at: string) => ({ ...read(turnMap({})), id, created_at });
    const sorted = sortTurns([
      at("c", "2026-11-22T10:00:01Z"),
      at("a", "2026-11-22T10:00:00.5Z"),
      at("b", "2026-11-22T10:00:01Z"),
    ]);
    expect(sorted.map(({ id }) => id)).toEqual(["a", "b", "c"]);
  });
});

describe("peers", () => {
  it("are one per person, from the tab that says most, with oneself first", () => {
    const user = (id: string, name: string) => ({ id, name, color: "#123456", kind: "person" });
    const peers = readPeers(
      new Map<number, unknown>([
        [1, { user: user("b", "Bob"), document: null }],
        [2, { user: user("b", "Bob"), document: "d" }],
        [3, { user: user("a", "Zoe"), document: null }],
        [4, {}],
      ]),
      3,
      "a",
    );
    expect(peers.map(({ name, document, you }) => [name, document, you])).toEqual([
      ["Zoe", null, true],
      ["Bob", "d", false],
    ]);
  });
});

it("lists what a turn did by file, with what is in and out of each", () => {
  const hunk = (id: string, document: string | null, path: string, state: string) => ({
    id,
    document,
    path,
    state: state as Hunk["state"],
    anchor: null,
    head: null,
    inserted: 5,
    deleted: 2,
    line: 1,
    reason: null,
  });
  const turn = {
    hunks: [
      hunk("1", "a", "a.py", "applied"),
      hunk("2", "b", "b.py", "missed"),
      // It had another name when this one was made.
      hunk("3", "a", "old.py", "rejected"),
      hunk("4", null, "c.py", "missed"),
    ],
  } as Turn;
  expect(
    byFile(turn).map(({ path, hunks, inserted, deleted }) => [
      path,
      hunks.map(({ id }) => id).join(""),
      inserted,
      deleted,
    ]),
  ).toEqual([
    ["a.py", "13", 10, 4],
    ["b.py", "2", 0, 0],
    ["c.py", "4", 0, 0],
  ]);
});

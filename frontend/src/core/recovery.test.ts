import { describe, expect, it } from "vitest";
import * as Y from "yjs";
import { applyEdits, onlyIn, unifiedDiff } from "./recovery.ts";

function pair(start: string): { mine: Y.Text; theirs: Y.Text } {
  const mine = new Y.Doc();
  mine.getText("content").insert(0, start);
  const theirs = new Y.Doc();
  Y.applyUpdate(theirs, Y.encodeStateAsUpdate(mine));
  return { mine: mine.getText("content"), theirs: theirs.getText("content") };
}

function merged(mine: Y.Text, theirs: Y.Text): string {
  const both = new Y.Doc();
  for (const { doc } of [theirs, mine]) if (doc) Y.applyUpdate(both, Y.encodeStateAsUpdate(doc));
  return both.getText("content").toString();
}

describe("what only one copy has", () => {
  it("is nothing when both are the same, or only the other went on", () => {
    const { mine, theirs } = pair("one\ntwo\n");
    expect(onlyIn(mine, theirs)).toEqual({ edits: [], conflict: false });
    theirs.insert(4, "new ");
    theirs.delete(0, 2);
    expect(onlyIn(mine, theirs).edits).toEqual([]);
  });

  it("is what was typed and deleted here, at its place between what others did", () => {
    const { mine, theirs } = pair("one\ntwo\nthree\n");
    mine.insert(7, " and a half");
    mine.delete(0, 3);
    theirs.insert(0, "zero\n");
    theirs.insert(theirs.length, "four\n");
    const { edits, conflict } = onlyIn(mine, theirs);
    expect(conflict).toBe(false);
    expect(applyEdits(theirs.toString(), edits)).toBe("zero\n\ntwo and a half\nthree\nfour\n");
  });

  it("is what a merge would have brought, whatever both did", () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed % below;
    };
    for (let round = 0; round < 200; round++) {
      const { mine, theirs } = pair("abcdefghijklmnopqrstuvwxyz");
      for (let step = 0; step < 8; step++) {
        const text = random(2) === 0 ? mine : theirs;
        const at = random(text.length + 1);
        // Both insert at places of their own: at one and the same place either order is right.
        const place = text === mine ? at - (at % 2) : at - (at % 2) + 1;
        if (random(3) === 0) text.delete(Math.min(at, text.length - 1), 1);
        else if (place <= text.length) text.insert(place, text === mine ? "M" : "T");
      }
      const { edits, conflict } = onlyIn(mine, theirs);
      expect(conflict).toBe(false);
      const sorted = (value: string) => [...value].sort().join("");
      const result = applyEdits(theirs.toString(), edits);
      expect(sorted(result)).toBe(sorted(merged(mine, theirs)));
      expect(result.replaceAll(/[MT]/g, "")).toBe(merged(mine, theirs).replaceAll(/[MT]/g, ""));
    }
  });

  it("is a conflict where the same ids stand for other text", () => {
    const one = new Y.Doc();
    one.clientID = 5;
    one.getText("content").insert(0, "before");
    const two = new Y.Doc();
    two.clientID = 5;
    two.getText("content").insert(0, "other!");
    expect(onlyIn(one.getText("content"), two.getText("content")).conflict).toBe(true);
  });
});

describe("a unified diff", () => {
  const text = Array.from({ length: 20 }, (_, index) => `line ${index + 1}`).join("\n");

  it("shows whole lines with their neighbours", () => {
    const at = text.indexOf("line 5");
    const diff = unifiedDiff("a/b.py", text, [
      { from: at, to: at + 4, insert: "LINE" },
      { from: text.length, to: text.length, insert: "\nlast" },
    ]);
    expect(diff).toBe(
      [
        "--- a/a/b.py",
        "+++ b/a/b.py",
        "@@ -2,7 +2,7 @@",
        " line 2",
        " line 3",
        " line 4",
        "-line 5",
        "+LINE 5",
        " line 6",
        " line 7",
        " line 8",
        "@@ -17,4 +17,5 @@",
        " line 17",
        " line 18",
        " line 19",
        "-line 20",
        "+line 20",
        "+last",
        "",
      ].join("\n"),
    );
  });
});

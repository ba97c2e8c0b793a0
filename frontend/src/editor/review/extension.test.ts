import { ChangeDesc, EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, it, vi } from "vitest";
import * as Y from "yjs";
import { UnitIndex } from "../../core/units.ts";
import { bindingOf, collab, initialText } from "../collab/binding.ts";
import { undoOf } from "../collab/undo.ts";
import type { DeletedText } from "./deleted.ts";
import {
  acceptHunk,
  beginningOf,
  goToHunk,
  nextHunk,
  previousHunk,
  rejectAll,
  review,
  reviewField,
  setReview,
  type Verdict,
} from "./extension.ts";
import { placeHunks, type ReviewHunk } from "./placing.ts";

const PERSON = 1;
const AGENT = 9;

const open: { destroy: () => void }[] = [];

afterEach(() => {
  vi.restoreAllMocks();
  for (const each of open.splice(0)) each.destroy();
});

/** A page with a text, and the hunks an agent made in it, each with the ids of what it did. */
class Stage {
  readonly doc = new Y.Doc();
  readonly text = this.doc.getText("content");
  readonly verdicts: [Verdict, string[]][] = [];
  readonly hunks: ReviewHunk[] = [];
  changes = 0;
  readonly view: EditorView;

  /** `edits` are made by the agent, from the end of the text so that places stay true. */
  constructor(before: string, edits: { from: number; to: number; insert: string }[]) {
    this.doc.clientID = PERSON;
    this.text.insert(0, before);
    const agent = new Y.Doc();
    agent.clientID = AGENT;
    Y.applyUpdate(agent, Y.encodeStateAsUpdate(this.doc));
    const text = agent.getText("content");
    agent.transact(() => {
      for (const [index, { from, to, insert }] of edits.entries()) {
        const clock = Y.getState(agent.store, AGENT);
        const old = before.slice(from, to);
        if (to > from) text.delete(from, to - from);
        if (insert) text.insert(from, insert);
        this.hunks.push({
          key: `t/${index}`,
          turn: "t",
          hunk: `${index}`,
          agent: "Agent",
          inserted: insert ? [{ client: AGENT, clock, length: insert.length }] : [],
          deleted: old ? [{ client: PERSON, clock: from, length: old.length, text: old }] : [],
        });
      }
    });
    Y.applyUpdate(this.doc, Y.encodeStateAsUpdate(agent), "network");
    this.view = new EditorView({
      parent: document.body,
      state: EditorState.create({
        doc: initialText(this.text),
        extensions: [
          collab({ text: this.text, undo: undoOf(this.text) }),
          review({
            onChange: () => {
              this.changes += 1;
            },
            onVerdict: (verdict, hunks) => {
              this.verdicts.push([verdict, hunks.map(({ key }) => key)]);
            },
          }),
        ],
      }),
    });
    open.push(this.view, this.doc);
  }

  get field() {
    return this.view.state.field(reviewField);
  }

  inserted(): string[] {
    const texts: string[] = [];
    this.field.inserted.between(0, this.view.state.doc.length, (from, to) => {
      texts.push(this.view.state.sliceDoc(from, to));
    });
    return texts;
  }

  removed(): [number, string][] {
    const found: [number, string][] = [];
    this.field.removed.between(0, this.view.state.doc.length, (at, _to, value) => {
      found.push([at, (value.spec.widget as DeletedText).text]);
    });
    return found;
  }

  type(at: number, insert: string): void {
    this.view.dispatch({ changes: { from: at, insert }, userEvent: "input.type" });
  }
}

const LINES = "alpha\nbeta\ngamma\ndelta\n";
/** Renames gamma, takes out beta's line, writes a line in front. */
const THREE = [
  { from: 11, to: 16, insert: "GAMMA" },
  { from: 6, to: 11, insert: "" },
  { from: 0, to: 0, insert: "first\n" },
];

describe("hunks under review", () => {
  it("[L13] are marked where they are, and what they deleted is shown where it was", () => {
    const stage = new Stage(LINES, THREE);
    setReview(stage.view, stage.hunks, false);
    expect(stage.view.state.doc.toString()).toBe("first\nalpha\nGAMMA\ndelta\n");
    expect(stage.inserted()).toEqual(["first\n", "GAMMA"]);
    expect(stage.removed()).toEqual([
      [12, "beta\n"],
      [12, "gamma"],
    ]);
    // What was there is read before what replaced it.
    expect(stage.view.dom.querySelector(".cm-line:nth-of-type(4)")?.textContent).toBe("gammaGAMMA");
    expect(stage.field.hunks.map(({ hunk }) => hunk)).toEqual(["2", "1", "0"]);
    const shown = [...stage.view.dom.querySelectorAll(".cm-deleted")].map((element) => [
      element.tagName,
      element.textContent,
    ]);
    expect(shown).toEqual([
      ["DIV", "beta"],
      ["SPAN", "gamma"],
    ]);
  });

  it("are walked in the order of the text, round and round, and announce where one is", () => {
    const stage = new Stage(LINES, THREE);
    setReview(stage.view, stage.hunks, false);
    const active = () => stage.field.active;
    expect(active()).toBeNull();
    nextHunk(stage.view);
    expect(active()).toBe("t/2");
    nextHunk(stage.view);
    expect(active()).toBe("t/1");
    expect(stage.view.state.selection.main.head).toBe(12);
    nextHunk(stage.view);
    nextHunk(stage.view);
    expect(active()).toBe("t/2");
    previousHunk(stage.view);
    expect(active()).toBe("t/0");
    expect(stage.changes).toBeGreaterThan(4);
    expect(stage.view.dom.querySelectorAll(".cm-inserted.cm-hunkActive").length).toBe(1);
  });

  it("start from the cursor, and are active where one clicks", () => {
    const stage = new Stage(LINES, THREE);
    setReview(stage.view, stage.hunks, false);
    stage.view.dispatch({ selection: { anchor: 14 }, userEvent: "select" });
    expect(stage.field.active).toBe("t/0");
    stage.view.dispatch({ selection: { anchor: 20 }, userEvent: "select" });
    expect(stage.field.active).toBeNull();
    previousHunk(stage.view);
    expect(stage.field.active).toBe("t/0");
  });

  it("are judged one by one or all, and then the next is at hand", () => {
    const stage = new Stage(LINES, THREE);
    setReview(stage.view, stage.hunks, false);
    nextHunk(stage.view);
    acceptHunk(stage.view);
    expect(stage.verdicts).toEqual([["accept", ["t/2"]]]);
    const left = stage.hunks.filter(({ key }) => key !== "t/2");
    setReview(stage.view, left, true);
    expect(stage.field.active).toBe("t/1");
    rejectAll(stage.view);
    expect(stage.verdicts.at(-1)).toEqual(["reject", ["t/1", "t/0"]]);
    // A verdict somebody else gave moves nobody on.
    setReview(stage.view, left.slice(0, 1), false);
    expect(stage.field.active).toBeNull();
    setReview(stage.view, [], false);
    expect(acceptHunk(stage.view)).toBe(false);
    expect(stage.inserted()).toEqual([]);
  });

  it("leave out what people type inside them, and stay where they are", () => {
    const stage = new Stage(LINES, THREE);
    setReview(stage.view, stage.hunks, false);
    stage.type(14, "HUMAN");
    stage.type(0, "// ");
    expect(stage.inserted()).toEqual(["first\n", "GA", "MMA"]);
    expect(beginningOf(stage.field, "t/0")).toBe(15);
    // Found anew by their ids they are the same.
    setReview(stage.view, stage.hunks, false);
    expect(stage.inserted()).toEqual(["first\n", "GA", "MMA"]);
  });

  it("show each deletion where it was, though its ids are those of neighbours", () => {
    // One client typed both words one after the other, at two places.
    const doc = new Y.Doc();
    doc.clientID = 3;
    const text = doc.getText("content");
    text.insert(0, "one  three\nfive\n");
    text.insert(4, "TWO");
    text.insert(14, "FOUR");
    text.delete(14, 4);
    text.delete(4, 3);
    const hunk = {
      key: "t/0",
      turn: "t",
      hunk: "0",
      agent: "Agent",
      inserted: [],
      deleted: [{ client: 3, clock: 16, length: 7, text: "TWOFOUR" }],
    };
    const { placed, missing } = placeHunks(UnitIndex.of(text), [hunk]);
    expect(missing).toBe(false);
    expect(placed[0]?.removed).toEqual([
      { at: 4, text: "TWO" },
      { at: 11, text: "FOUR" },
    ]);
  });

  it("keep a place when all they wrote is deleted, and come back with their text", () => {
    vi.useFakeTimers();
    const stage = new Stage(LINES, THREE);
    setReview(stage.view, stage.hunks, false);
    stage.view.dispatch({ changes: { from: 12, to: 24 }, userEvent: "delete" });
    expect(goToHunk(stage.view, "t/0")).toBe(true);
    vi.advanceTimersByTime(1000);
    expect(stage.removed()).toEqual([
      [12, "beta\n"],
      [12, "gamma"],
    ]);
    vi.useRealTimers();
  });

  it("show again what they deleted when its place was edited away, whatever was typed in others", () => {
    vi.useFakeTimers();
    const stage = new Stage(LINES, THREE);
    setReview(stage.view, stage.hunks, false);
    // Each of these makes two marks of one.
    for (const at of [1, 4, 7]) stage.type(at, "-");
    stage.view.dispatch({ changes: { from: 13, to: 22 }, userEvent: "delete" });
    expect(stage.removed().length).toBeLessThan(2);
    vi.advanceTimersByTime(1000);
    expect(stage.removed().map(([, text]) => text)).toEqual(["beta\n", "gamma"]);
    vi.useRealTimers();
  });

  it("wait for text that has not arrived yet", () => {
    vi.useFakeTimers();
    const stage = new Stage("one\n", []);
    const other = new Y.Doc();
    other.clientID = AGENT;
    Y.applyUpdate(other, Y.encodeStateAsUpdate(stage.doc));
    other.getText("content").insert(4, "two\n");
    const late: ReviewHunk = {
      key: "t/late",
      turn: "t",
      hunk: "late",
      agent: "Agent",
      inserted: [{ client: AGENT, clock: 0, length: 4 }],
      deleted: [],
    };
    setReview(stage.view, [late], false);
    expect(stage.field.hunks).toEqual([]);
    Y.applyUpdate(stage.doc, Y.encodeStateAsUpdate(other), "network");
    bindingOf(stage.view)?.flush();
    vi.advanceTimersByTime(1000);
    expect(stage.inserted()).toEqual(["two\n"]);
    vi.useRealTimers();
  });

  it("fold a long deletion and unfold it when asked", () => {
    const long = Array.from({ length: 44 }, (_, index) => `line ${index}\n`).join("");
    const stage = new Stage(long, [{ from: 0, to: long.length, insert: "" }]);
    setReview(stage.view, stage.hunks, false);
    const block = stage.view.dom.querySelector(".cm-deletedBlock");
    expect(block?.querySelectorAll("del").length).toBe(4);
    const more = block?.querySelector("button");
    expect(more?.textContent).toBe("… 40 more lines");
    more?.click();
    expect(block?.querySelectorAll("del").length).toBe(44);
  });
});

describe("a large review", () => {
  /** A file of ten thousand lines, in which every so many lines one was replaced. */
  function large(hunks: number): Stage {
    const lines = Array.from({ length: 10_000 }, (_, index) => `line ${10_000 + index}`);
    const every = Math.floor(10_000 / hunks);
    const edits = Array.from({ length: hunks }, (_, index) => {
      const from = (hunks - 1 - index) * every * 11;
      return { from, to: from + 4, insert: "LINE" };
    });
    const stage = new Stage(`${lines.join("\n")}\n`, edits);
    setReview(stage.view, stage.hunks, false);
    return stage;
  }

  /** Making the stage takes a slow machine a while; nothing here is timed. */
  const TIMEOUT_MS = 60_000;

  /** Positions looked at while something happens. */
  function looks(act: () => void): number {
    const mapPos = vi.spyOn(ChangeDesc.prototype, "mapPos");
    act();
    const count = mapPos.mock.calls.length;
    mapPos.mockRestore();
    return count;
  }

  it(
    "[L14] costs a keystroke the same with ten times as many hunks, and no walk over the text",
    () => {
      const work = (hunks: number) => {
        const stage = large(hunks);
        expect(stage.field.hunks.length).toBe(hunks);
        const walks = vi.spyOn(UnitIndex, "of");
        const middle = stage.view.state.doc.line(5001).from + 7;
        const count = looks(() => stage.type(middle, "x"));
        expect(walks).not.toHaveBeenCalled();
        walks.mockRestore();
        return count;
      };
      const [few, many] = [work(500), work(5000)];
      // CodeMirror keeps ranges in chunks of some hundred, and looks into those that are touched.
      expect(many).toBeLessThan(2 * few + 500);
      expect(few).toBeLessThan(3000);
    },
    TIMEOUT_MS,
  );

  it(
    "draws what is on the screen and no more",
    () => {
      const stage = large(500);
      expect(stage.view.dom.querySelectorAll(".cm-deleted").length).toBeLessThan(100);
    },
    TIMEOUT_MS,
  );

  it(
    "is found in one walk over the text",
    () => {
      const stage = large(500);
      const walks = vi.spyOn(UnitIndex, "of");
      const finds = vi.spyOn(UnitIndex.prototype, "find");
      setReview(stage.view, stage.hunks.slice(1), false);
      expect(walks).toHaveBeenCalledTimes(1);
      expect(finds.mock.calls.length).toBeLessThan(499 * 6);
    },
    TIMEOUT_MS,
  );
});

import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, it, vi } from "vitest";
import * as Y from "yjs";
import { createStore } from "zustand/vanilla";
import type { Hunk, Turn } from "../../core/protocol.ts";
import { collab, initialText } from "../../editor/collab/binding.ts";
import { undoOf, undoOwn } from "../../editor/collab/undo.ts";
import { type Review, review, reviewField } from "../../editor/review/extension.ts";
import type { OpenHunk } from "../../state/reviews.ts";
import type { ProjectSession } from "../../state/session.ts";
import { INITIAL_STATE, type SessionState } from "../../state/session-state.ts";
import { ReviewDesk } from "./review-desk.ts";

const AGENT = 9;
const LINE = "written\n";

const open: { destroy: () => void }[] = [];

afterEach(() => {
  for (const each of open.splice(0)) each.destroy();
});

function turn(hunks: number): Turn {
  return {
    id: "t",
    status: "done",
    agent: "a",
    prompt: "write three lines",
    by: "m",
    documents: ["d"],
    created_at: "",
    finished_at: null,
    usage: null,
    error: null,
    answer: "",
    review: "open",
    agent_name: null,
    hunks: Array.from(
      { length: hunks },
      (_, index): Hunk => ({
        id: `h${index}`,
        document: "d",
        path: "d.py",
        state: "applied",
        anchor: null,
        head: null,
        inserted: LINE.length,
        deleted: 0,
        line: 1,
        reason: null,
      }),
    ),
  };
}

/** An editor with three lines of an agent, each of them a hunk, and two lines of a person. */
class Stage {
  readonly text: Y.Text;
  readonly view: EditorView;
  readonly desk: ReviewDesk;
  readonly verdicts: string[][] = [];
  rejected: string[] = [];
  /** The server answers a verdict when this is fulfilled. */
  answered: Promise<unknown> = Promise.resolve();
  private hunks: OpenHunk[];
  private readonly store;

  constructor() {
    const doc = new Y.Doc();
    const agent = new Y.Doc();
    agent.clientID = AGENT;
    agent.getText("content").insert(0, LINE.repeat(3));
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(agent));
    this.text = doc.getText("content");
    this.text.insert(this.text.length, "mine\nmine\n");
    const made = turn(3);
    this.hunks = made.hunks.map(({ id }, index) => ({
      turn: made,
      changes: {
        id,
        state: "applied",
        inserted: [{ client: AGENT, clock: index * LINE.length, length: LINE.length }],
        deleted: [],
      },
    }));
    const document = { hasText: true } as never;
    this.store = createStore<SessionState>(() => ({
      ...INITIAL_STATE,
      turns: [made],
      ownTurn: "t",
      open: new Map([["d", document]]),
    }));
    const session = {
      store: this.store,
      reviews: { open: () => this.hunks },
      judgeHunks: async (_verdict: string, _turn: string, ids: string[]) => {
        this.verdicts.push(ids);
        await this.answered;
      },
      rejectTurn: async (id: string) => void this.rejected.push(id),
      forgetOwnTurn: () => this.store.setState({ ownTurn: null }),
    } as unknown as ProjectSession;
    this.desk = new ReviewDesk(session);
    this.view = new EditorView({
      parent: globalThis.document.body,
      state: EditorState.create({
        doc: initialText(this.text),
        extensions: [
          collab({
            text: this.text,
            undo: undoOf(this.text),
            onTyped: this.desk.onTyped,
            beforeUndo: this.desk.beforeUndo,
          }),
          review({ onChange: this.desk.onChange, onVerdict: this.desk.onVerdict }),
        ],
      }),
    });
    this.desk.show("d", this.view);
    // The test's document, unlike a browser's, tells of a selection while it is being set.
    vi.spyOn(this.view, "focus").mockReturnValue();
    open.push(this.desk, this.view, doc, agent);
  }

  /** The server tells of the verdict. */
  judged(): void {
    this.hunks = this.hunks.filter(
      ({ changes }) => !this.verdicts.some((ids) => ids.includes(changes.id)),
    );
    this.store.setState({ reviewVersion: this.store.getState().reviewVersion + 1 });
  }

  /** The last hunk arrives when the answer is called. */
  withhold(): () => void {
    const all = this.hunks;
    this.hunks = all.slice(0, -1);
    this.judged();
    return () => {
      this.hunks = all;
      this.judged();
    };
  }

  /** The turn is the last thing this person did. */
  asked(): void {
    this.store.setState({ ownTurn: "t" });
  }

  type(words: string): void {
    const { head } = this.view.state.selection.main;
    this.view.dispatch({
      changes: { from: head, insert: words },
      selection: { anchor: head + words.length },
      userEvent: "input.type",
    });
  }

  get head(): number {
    return this.view.state.selection.main.head;
  }

  get field(): Review {
    return this.view.state.field(reviewField);
  }
}

describe("after a verdict", () => {
  it("[L13] the next change is at hand", async () => {
    const stage = new Stage();
    stage.desk.next();
    stage.desk.judge("accept", false);
    await Promise.resolve();
    stage.judged();
    expect([stage.field.active, stage.head]).toEqual(["t/h1", LINE.length]);
  });

  it("the next one counts too, though the first is not answered yet", async () => {
    const stage = new Stage();
    let answer = () => {};
    stage.answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    stage.desk.next();
    stage.desk.judge("accept", false);
    // Twice the same key is one verdict.
    stage.desk.judge("accept", false);
    await Promise.resolve();
    stage.judged();
    expect(stage.field.active).toBe("t/h1");
    stage.desk.judge("reject", false);
    answer();
    await vi.waitFor(() => expect(stage.verdicts).toEqual([["h0"], ["h1"]]));
    stage.judged();
    expect(stage.field.active).toBe("t/h2");
  });

  it("the cursor stays with whoever has typed on meanwhile", async () => {
    const stage = new Stage();
    stage.desk.next();
    stage.desk.judge("accept", false);
    stage.type("on");
    await Promise.resolve();
    stage.judged();
    expect(stage.head).toBe(2);
  });

  it("the cursor does not follow what was to be shown before one typed", () => {
    const stage = new Stage();
    const late = stage.withhold();
    expect(stage.desk.reveal("t", "h2")).toBe(false);
    stage.type("x");
    late();
    expect(stage.field.hunks.length).toBe(3);
    expect(stage.head).toBe(1);
  });
});

describe("the offer to reject one's last turn", () => {
  it("[S33] goes when one types on, and rejects nothing", () => {
    const stage = new Stage();
    stage.type("x");
    stage.asked();
    expect(undoOwn(stage.view)).toBe(true);
    expect(stage.desk.store.getState().offer?.id).toBe("t");
    expect(stage.text.toString()).toContain("x");
    stage.type("y");
    expect(stage.desk.store.getState().offer).toBeNull();
    expect(stage.rejected).toEqual([]);
  });

  it("is declined by asking for undo again, which is about typing then", () => {
    const stage = new Stage();
    stage.type("x");
    stage.asked();
    undoOwn(stage.view);
    undoOwn(stage.view);
    expect(stage.desk.store.getState().offer).toBeNull();
    expect(stage.text.toString()).not.toContain("x");
    expect(stage.rejected).toEqual([]);
  });
});

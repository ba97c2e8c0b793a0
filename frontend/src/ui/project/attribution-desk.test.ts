import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import { createStore } from "zustand/vanilla";
import type { Attribution } from "../../core/protocol.ts";
import { attribution, authorsBetween } from "../../editor/attribution/extension.ts";
import { collab, initialText } from "../../editor/collab/binding.ts";
import { redoOwn, undoOf, undoOwn } from "../../editor/collab/undo.ts";
import type { OpenDocument } from "../../state/open-document.ts";
import type { ProjectSession } from "../../state/session.ts";
import { INITIAL_STATE } from "../../state/session-state.ts";
import { settings } from "../../state/settings.ts";
import { AttributionDesk, personOf } from "./attribution-desk.ts";

const ADA = { id: "ada", name: "Ada", color: "#0000aa", role: "editor" as const };
const CLIENT = 5;

const open: { destroy: () => void }[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  settings.setState({ authorsShown: true });
});
afterEach(() => {
  vi.useRealTimers();
  for (const each of open.splice(0)) each.destroy();
});

/** Ada's page, with the answers of the server in the test's hand. */
class Stage {
  readonly answers: ((told: Attribution) => void)[] = [];
  readonly asked: string[] = [];
  readonly desk: AttributionDesk;

  constructor() {
    const session = {
      store: createStore(() => ({ ...INITIAL_STATE, you: ADA })),
      attribution: (document: string) => {
        this.asked.push(document);
        return new Promise<Attribution>((resolve) => this.answers.push(resolve));
      },
    } as unknown as ProjectSession;
    this.desk = new AttributionDesk(session);
    open.push(this.desk);
  }

  show(id: string): { view: EditorView; authors: () => string[] } {
    const doc = new Y.Doc();
    doc.clientID = CLIENT;
    const text = doc.getText("content");
    const view = new EditorView({
      parent: document.body,
      state: EditorState.create({
        doc: initialText(text),
        extensions: [
          collab({ text, undo: undoOf(text) }),
          attribution({ you: personOf(ADA), ago: () => "", onSaid: () => {} }),
        ],
      }),
    });
    const awareness = new Awareness(doc);
    open.push(view, awareness, doc);
    this.desk.show(
      { id, doc, text, awareness, state: { hasText: true } } as unknown as OpenDocument,
      view,
    );
    return {
      view,
      authors: () => authorsBetween(view.state, 0, view.state.doc.length).map(({ name }) => name),
    };
  }

  async tell(): Promise<void> {
    this.answers.shift()?.({ spans: [], turns: new Map(), members: new Map() });
    await vi.advanceTimersByTimeAsync(0);
  }
}

describe("who wrote what in the editor at hand", () => {
  it("is known of what undo and redo bring back", async () => {
    const stage = new Stage();
    const { view, authors } = stage.show("one");
    await stage.tell();
    view.dispatch({ changes: { from: 0, insert: "words" }, userEvent: "input.type" });
    expect(undoOwn(view)).toBe(true);
    expect(redoOwn(view)).toBe(true);
    await vi.advanceTimersByTimeAsync(2000);
    expect(view.state.doc.toString()).toBe("words");
    expect(authors()).toEqual(["Ada"]);
  });

  it("is asked for the next document when the first answer was still on its way", async () => {
    const stage = new Stage();
    const first = stage.show("one");
    stage.desk.hide(first.view);
    stage.show("two");
    expect(stage.asked).toEqual(["one"]);
    await stage.tell();
    expect(stage.asked).toEqual(["one", "two"]);
  });
});

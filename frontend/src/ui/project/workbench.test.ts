import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, it } from "vitest";
import * as Y from "yjs";
import { createStore } from "zustand/vanilla";
import { collab, DOCUMENT_UNITS, initialText } from "../../editor/collab/binding.ts";
import { undoOf } from "../../editor/collab/undo.ts";
import type { OpenDocument } from "../../state/open-document.ts";
import type { ProjectSession } from "../../state/session.ts";
import { INITIAL_STATE } from "../../state/session-state.ts";
import { Workbench } from "./workbench.ts";

const open: { destroy: () => void }[] = [];

afterEach(() => {
  for (const each of open.splice(0)) each.destroy();
});

/** A page with a text and a copy of it that has one line more at its beginning. */
function setUp(before: string) {
  const doc = new Y.Doc();
  const text = doc.getText("content");
  text.insert(0, before);
  const returned: string[] = [];
  const session = {
    store: createStore(() => INITIAL_STATE),
    unsent: {
      compare: () => ({ edits: [{ from: 0, to: 0, insert: "mine\n" }], conflict: false }),
      returned: (key: string) => returned.push(key),
    },
  } as unknown as ProjectSession;
  const view = new EditorView({
    parent: document.body,
    state: EditorState.create({
      doc: initialText(text),
      extensions: [collab({ text, undo: undoOf(text) })],
    }),
  });
  const workbench = new Workbench(session);
  workbench.show(
    { id: "d", doc, text, state: { hasText: false } } as unknown as OpenDocument,
    view,
  );
  open.push(workbench, view, doc);
  return { workbench, text, returned };
}

describe("a copy that is put back", () => {
  it("[S31] goes into the text, and is the session's to forget once that is stored", () => {
    const { workbench, text, returned } = setUp("saved\n");
    workbench.putBack("key");
    expect(text.toString()).toBe("mine\nsaved\n");
    expect(returned).toEqual(["key"]);
  });

  it("stays where the text has no room for it", () => {
    const line = `${"x".repeat(1023)}\n`;
    const { workbench, text, returned } = setUp(line.repeat(DOCUMENT_UNITS / line.length));
    workbench.putBack("key");
    expect(text.length).toBe(DOCUMENT_UNITS);
    expect(returned).toEqual([]);
  });
});

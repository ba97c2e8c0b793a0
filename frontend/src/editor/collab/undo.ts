/**
 * Undo takes back what this person typed here, never what others or an agent wrote.
 * One `Undo` belongs to a document and outlives its views, so that going to another file and back
 * keeps the history.
 */

import { EditorSelection, type EditorState, type Extension, Prec } from "@codemirror/state";
import { type Command, EditorView, keymap } from "@codemirror/view";
import * as Y from "yjs";
import { type Binding, bindingOf, collabConfig } from "./binding.ts";

/** Edits closer together than this are taken back together. */
const GROUP_MS = 500;

const SELECTION = Symbol("selection before the edit");

interface StoredSelection {
  anchor: Y.RelativePosition;
  head: Y.RelativePosition;
}

/** The undo history of one document. */
export class Undo {
  readonly manager: Y.UndoManager;
  private readonly views = new Map<Binding, EditorView>();
  /** Set right before an edit, taken by the stack item it starts. */
  before: StoredSelection | null = null;
  private restored: StoredSelection | null = null;

  constructor(readonly text: Y.Text) {
    this.manager = new Y.UndoManager(text, { trackedOrigins: new Set(), captureTimeout: GROUP_MS });
    this.manager.on("stack-item-added", (event: { stackItem: { meta: Map<unknown, unknown> } }) => {
      if (this.before && !event.stackItem.meta.has(SELECTION)) {
        event.stackItem.meta.set(SELECTION, this.before);
      }
    });
    this.manager.on(
      "stack-item-popped",
      (event: { stackItem: { meta: Map<unknown, unknown> } }) => {
        this.restored =
          (event.stackItem.meta.get(SELECTION) as StoredSelection | undefined) ?? null;
      },
    );
  }

  /** Takes part in the history: this binding's edits are tracked from now on. */
  add(binding: Binding, view: EditorView): void {
    this.views.set(binding, view);
    this.manager.addTrackedOrigin(binding);
  }

  /** Leaves; its edits stay in the history. */
  remove(binding: Binding): void {
    this.views.delete(binding);
    // The manager tells whose a stack item is when it was made, so the origin is free to go.
    this.manager.removeTrackedOrigin(binding);
  }

  /** Takes back or repeats one step and shows it in every view of this page at once. */
  step(view: EditorView, direction: "undo" | "redo"): boolean {
    const binding = bindingOf(view);
    if (!binding || view.state.readOnly) return false;
    for (const each of this.views.keys()) each.flush();
    rememberSelection(this, binding, view.state);
    this.restored = null;
    const done = direction === "undo" ? this.manager.undo() : this.manager.redo();
    for (const each of this.views.keys()) each.flush();
    if (!done) return false;
    const selection = this.restored && this.resolve(this.restored);
    view.dispatch({
      ...(selection ? { selection } : {}),
      scrollIntoView: true,
      userEvent: `${direction}.selection`,
    });
    return true;
  }

  private resolve(stored: StoredSelection): EditorSelection | null {
    const doc = this.text.doc;
    if (!doc) return null;
    const anchor = Y.createAbsolutePositionFromRelativePosition(stored.anchor, doc);
    const head = Y.createAbsolutePositionFromRelativePosition(stored.head, doc);
    return anchor && head ? EditorSelection.single(anchor.index, head.index) : null;
  }
}

const histories = new WeakMap<Y.Text, Undo>();

/** The history of a text, made at its first use; it ends with the text's document. */
export function undoOf(text: Y.Text): Undo {
  const known = histories.get(text) ?? new Undo(text);
  histories.set(text, known);
  return known;
}

/** Notes where the selection is before an edit, to return to it when the edit is taken back. */
export function rememberSelection(undo: Undo, binding: Binding, state: EditorState): void {
  const { anchor, head } = state.selection.main;
  undo.before = {
    anchor: Y.createRelativePositionFromTypeIndex(undo.text, binding.toText(anchor), -1),
    head: Y.createRelativePositionFromTypeIndex(undo.text, binding.toText(head), -1),
  };
}

/** Takes back the last thing this person typed in this document. */
export const undoOwn: Command = (view) =>
  (view.state.facet(collabConfig)?.beforeUndo?.() ?? false) || step(view, "undo");

/** Repeats what was taken back last. */
export const redoOwn: Command = (view) => step(view, "redo");

function step(view: EditorView, direction: "undo" | "redo"): boolean {
  return view.state.facet(collabConfig)?.undo.step(view, direction) ?? false;
}

/** The usual keys, and the menu of the browser. */
export const undoKeys: Extension = [
  Prec.high(
    keymap.of([
      { key: "Mod-z", run: undoOwn, preventDefault: true },
      { key: "Mod-y", mac: "Mod-Shift-z", run: redoOwn, preventDefault: true },
      { linux: "Ctrl-Shift-z", win: "Ctrl-Shift-z", run: redoOwn, preventDefault: true },
    ]),
  ),
  EditorView.domEventHandlers({
    beforeinput(event, view) {
      const command =
        event.inputType === "historyUndo"
          ? undoOwn
          : event.inputType === "historyRedo"
            ? redoOwn
            : null;
      if (!command) return false;
      event.preventDefault();
      return command(view);
    },
  }),
];

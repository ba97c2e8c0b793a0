/**
 * Binds a CodeMirror view to a Y.Text.
 *
 * **Invariant** the editor's text with the waiting changes applied is the Y.Text's text.
 *
 * Remote changes are composed while they arrive and enter the editor once per frame, as one
 * transaction, so that an agent writing a thousand tokens a second costs sixty transactions.
 * What is typed in the meantime is mapped through the waiting changes on its way to the Y.Text.
 * The binding never dispatches from inside an update: only frames, timers and commands flush.
 */

import {
  Annotation,
  type ChangeDesc,
  ChangeSet,
  EditorState,
  type Extension,
  Facet,
  StateEffect,
  Text,
  Transaction,
} from "@codemirror/state";
import { EditorView, type PluginValue, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import type * as Y from "yjs";
import { FrameTask } from "../../core/frame.ts";
import { isHigh, isLow, smallestEdit, tidyText, wellFormed } from "../../core/text.ts";
import { rememberSelection, type Undo, undoKeys } from "./undo.ts";

/** UTF-16 units of one document; the server refuses more. */
export const DOCUMENT_UNITS = 2 * 1024 * 1024;

/** UTF-16 units of one update: at most three bytes each, it stays below the server's 1 MiB. */
const UPDATE_UNITS = 256 * 1024;

/** After this long without remote changes the two texts are compared once. */
const VERIFY_AFTER_MS = 1500;

export interface CollabConfig {
  /** The text that is edited. */
  text: Y.Text;
  /** One per document, shared by all views on it. */
  undo: Undo;
  /** True for transactions whose insertions are to be reported as `markedInsert`. */
  marks?: (transaction: Y.Transaction) => boolean;
  /** The person has changed the text; taking something back does not count. */
  onTyped?: () => void;
  /** Undo was asked for. True when something else is done instead. */
  beforeUndo?: () => boolean;
  /** Something was not inserted because the document would outgrow what the server keeps. */
  onTooLarge?: () => void;
}

/** Marks the transactions that bring remote changes in. */
export const remoteEdit = Annotation.define<true>();

/** Where text of a marked author came in, in positions after the transaction. */
export const markedInsert = StateEffect.define<readonly { from: number; to: number }[]>();

/** What the view at hand is bound to. */
export const collabConfig = Facet.define<CollabConfig, CollabConfig | null>({
  combine: (values) => values[0] ?? null,
});

/** Binds the view it is given to. Start the state from `initialText`. */
export function collab(config: CollabConfig): Extension {
  return [
    collabConfig.of(config),
    bindingPlugin,
    undoKeys,
    EditorView.clipboardInputFilter.of((text) => tidyText(text)),
    EditorState.changeFilter.of((transaction) => {
      // Nothing but remote changes may enter a read-only editor, whatever an extension tries.
      if (transaction.startState.readOnly) return false;
      const { length } = transaction.newDoc;
      if (length <= DOCUMENT_UNITS || length <= transaction.startState.doc.length) return true;
      config.onTooLarge?.();
      return false;
    }),
  ];
}

/** The text to start an editor's state from. */
export function initialText(text: Y.Text): Text {
  return toText(text.toString());
}

/** The binding of a view; `null` for a view without one. */
export function bindingOf(view: EditorView): Binding | null {
  return view.plugin(bindingPlugin);
}

export class Binding implements PluginValue {
  readonly text: Y.Text;
  private readonly config: CollabConfig;
  /** Remote changes that are in the Y.Text but not in the editor yet. */
  private waiting: ChangeSet | null = null;
  /** Marked insertions among the waiting changes, in positions of the Y.Text. */
  private marked: { from: number; to: number }[] = [];
  private readonly frame = new FrameTask(() => this.flush());
  private verifying: ReturnType<typeof setTimeout> | null = null;

  constructor(private readonly view: EditorView) {
    const config = view.state.facet(collabConfig);
    if (!config) throw new Error("the plugin comes with its configuration, in `collab`");
    this.config = config;
    this.text = this.config.text;
    this.text.observe(this.observe);
    this.config.undo.add(this, view);
    const missed = smallestEdit(view.state.doc.toString(), this.text.toString());
    if (missed) this.wait(toChanges(missed, view.state.doc.length));
  }

  /** Local transactions go to the Y.Text, mapped through what waits. */
  update(update: ViewUpdate): void {
    for (const transaction of update.transactions) {
      if (transaction.annotation(remoteEdit)) continue;
      if (transaction.docChanged) this.write(transaction);
      else if (transaction.selection && transaction.isUserEvent("select")) {
        this.config.undo.manager.stopCapturing();
      }
    }
  }

  /** Brings waiting remote changes into the editor. Not to be called inside an update. */
  flush(): void {
    this.frame.cancel();
    const changes = this.waiting;
    if (!changes) return;
    const effects = this.marked.length > 0 ? [markedInsert.of(this.marked)] : [];
    this.waiting = null;
    this.marked = [];
    this.view.dispatch({
      changes,
      effects,
      annotations: [
        remoteEdit.of(true),
        Transaction.remote.of(true),
        Transaction.addToHistory.of(false),
      ],
      filter: false,
    });
    this.verifySoon();
  }

  /** A position of the editor as one of the Y.Text. */
  toText(position: number, assoc: -1 | 1 = -1): number {
    return this.waiting ? this.waiting.mapPos(position, assoc) : position;
  }

  destroy(): void {
    this.text.unobserve(this.observe);
    this.config.undo.remove(this);
    this.frame.cancel();
    if (this.verifying) clearTimeout(this.verifying);
  }

  private readonly observe = (event: Y.YTextEvent, transaction: Y.Transaction): void => {
    if (transaction.origin === this) return;
    const length = this.waiting?.newLength ?? this.view.state.doc.length;
    const specs: { from: number; to?: number; insert?: Text }[] = [];
    const marks = this.config.marks?.(transaction) ?? false;
    const marked: { from: number; to: number }[] = [];
    let before = 0;
    let after = 0;
    for (const part of event.delta) {
      if (part.retain !== undefined) {
        before += part.retain;
        after += part.retain;
      } else if (part.delete !== undefined) {
        specs.push({ from: before, to: before + part.delete });
        before += part.delete;
      } else if (typeof part.insert === "string") {
        // The server admits nothing but strings, so every part has a length we know.
        specs.push({ from: before, insert: toText(part.insert) });
        if (marks) marked.push({ from: after, to: after + part.insert.length });
        after += part.insert.length;
      }
    }
    this.wait(ChangeSet.of(specs, length), marked);
  };

  private wait(changes: ChangeSet, marked: { from: number; to: number }[] = []): void {
    this.waiting = this.waiting ? this.waiting.compose(changes) : changes;
    this.marked = [...mapRanges(this.marked, changes), ...marked];
    this.frame.schedule();
  }

  private write(transaction: Transaction): void {
    this.config.onTyped?.();
    let local = transaction.changes;
    let base = transaction.startState.doc;
    rememberSelection(this.config.undo, this, transaction.startState);
    if (this.waiting) {
      base = this.waiting.apply(base);
      local = transaction.changes.map(this.waiting, true);
      this.waiting = this.waiting.map(transaction.changes);
      this.marked = mapRanges(this.marked, local);
    }
    const rest: { at: number; insert: string }[] = [];
    this.text.doc?.transact(() => {
      let shift = 0;
      local.iterChanges((fromA, toA, _fromB, _toB, inserted) => {
        const { from, to, insert } = wholePairs(base, fromA, toA, inserted.toString());
        if (to > from) this.text.delete(from + shift, to - from);
        // Half a pair cannot travel; where one was typed the editor follows what can.
        const whole = wellFormed(insert);
        if (whole !== insert) this.verifySoon();
        const first = firstPart(whole);
        if (first) this.text.insert(from + shift, first);
        if (first.length < whole.length) {
          rest.push({ at: from + shift + first.length, insert: whole.slice(first.length) });
        }
        shift += first.length - (to - from);
      });
    }, this);
    // What does not fit into one update follows in others, from the end so that places stay true.
    for (const part of rest.reverse()) {
      for (let { at, insert } = part; insert; ) {
        const next = firstPart(insert);
        this.text.doc?.transact(() => this.text.insert(at, next), this);
        at += next.length;
        insert = insert.slice(next.length);
      }
    }
  }

  private verifySoon(): void {
    if (this.verifying) clearTimeout(this.verifying);
    this.verifying = setTimeout(() => {
      this.verifying = null;
      this.verify();
    }, VERIFY_AFTER_MS);
  }

  /**
   * Repairs what a peer can do behind our back: Yjs replaces both halves of a surrogate pair that
   * somebody's edit tore apart, and reports no change for it.
   */
  verify(): void {
    this.flush();
    const edit = smallestEdit(this.view.state.doc.toString(), this.text.toString());
    if (!edit) return;
    this.waiting = toChanges(edit, this.view.state.doc.length);
    this.flush();
  }
}

const bindingPlugin = ViewPlugin.fromClass(Binding);

/** Text for CodeMirror with exactly these units: a stray `\r` stays one, so lengths agree. */
function toText(value: string): Text {
  return Text.of(value.split("\n"));
}

function toChanges(edit: { from: number; to: number; insert: string }, length: number): ChangeSet {
  return ChangeSet.of({ from: edit.from, to: edit.to, insert: toText(edit.insert) }, length);
}

function mapRanges(
  ranges: readonly { from: number; to: number }[],
  changes: ChangeDesc,
): { from: number; to: number }[] {
  const mapped: { from: number; to: number }[] = [];
  for (const { from, to } of ranges) {
    const start = changes.mapPos(from, 1);
    const end = changes.mapPos(to, -1);
    if (end > start) mapped.push({ from: start, to: end });
  }
  return mapped;
}

/** As much of a text as goes into one update, without tearing a pair apart. */
function firstPart(insert: string): string {
  if (insert.length <= UPDATE_UNITS) return insert;
  const cut = isHigh(insert.charCodeAt(UPDATE_UNITS - 1)) ? UPDATE_UNITS - 1 : UPDATE_UNITS;
  return insert.slice(0, cut);
}

/** Widens an edit that would begin or end inside a surrogate pair; Yjs cannot keep half of one. */
function wholePairs(
  base: Text,
  from: number,
  to: number,
  insert: string,
): { from: number; to: number; insert: string } {
  const unit = (at: number) => base.sliceString(at, at + 1).charCodeAt(0);
  let [start, end, text] = [from, to, insert];
  if (start > 0 && start < base.length && isHigh(unit(start - 1)) && isLow(unit(start))) {
    start -= 1;
    text = base.sliceString(start, start + 1) + text;
  }
  if (end > from && end < base.length && isHigh(unit(end - 1)) && isLow(unit(end))) {
    text += base.sliceString(end, end + 1);
    end += 1;
  } else if (end === from && start < from) {
    text += base.sliceString(end, end + 1);
    end += 1;
  }
  return { from: start, to: end, insert: text };
}

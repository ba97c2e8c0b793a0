/**
 * Softly marks what an agent has just written, and leads to a hunk of its turn.
 * The marks fade once the agent rests; what it wrote is on record in the turn's hunks.
 */

import {
  EditorSelection,
  type Extension,
  type Range,
  StateEffect,
  StateField,
  type Transaction,
} from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  EditorView,
  type PluginValue,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import { markedInsert } from "../collab/binding.ts";

/** Marks begin to fade when nothing was written for this long. */
const REST_MS = 2500;

/** How long fading takes; the style sheet uses the same figure. */
const FADE_MS = 1200;

/** How long a hunk that was jumped to stands out. */
const FLASH_MS = 1600;

const fade = StateEffect.define<null>();
const clear = StateEffect.define<null>();
const flash = StateEffect.define<{ from: number; to: number } | null>();

const fresh = Decoration.mark({ class: "cm-agentText", inclusive: false });
const fading = Decoration.mark({ class: "cm-agentText cm-agentText-fading", inclusive: false });
const flashed = Decoration.mark({ class: "cm-hunkFlash" });
const flashedLine = Decoration.line({ class: "cm-hunkFlash" });

/** What an agent wrote a moment ago. */
export const agentText = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    let next = marks.map(transaction.changes);
    // What somebody types inside an agent's text is not the agent's.
    transaction.changes.iterChangedRanges((_fromA, _toA, from, to) => {
      if (to > from) next = cutOut(next, from, to);
    });
    for (const effect of transaction.effects) {
      if (effect.is(markedInsert)) {
        next = next.update({
          add: effect.value.map(({ from, to }) => fresh.range(from, to)),
          sort: true,
        });
      } else if (effect.is(fade)) next = asFading(next);
      else if (effect.is(clear))
        next = next.update({ filter: (_f, _t, value) => value !== fading });
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

const flashField = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    let next = marks.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(flash)) next = flashAt(effect.value, transaction);
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function flashAt(
  range: { from: number; to: number } | null,
  transaction: Transaction,
): DecorationSet {
  if (!range) return Decoration.none;
  const { doc } = transaction.state;
  if (range.to > range.from) return Decoration.set(flashed.range(range.from, range.to));
  return Decoration.set(flashedLine.range(doc.lineAt(range.from).from));
}

function cutOut(marks: DecorationSet, from: number, to: number): DecorationSet {
  const rest: Range<Decoration>[] = [];
  marks.between(from, to, (start, end, value) => {
    if (start < from) rest.push(value.range(start, Math.min(end, from)));
    if (end > to) rest.push(value.range(Math.max(start, to), end));
  });
  return marks.update({
    filterFrom: from,
    filterTo: to,
    filter: () => false,
    add: rest,
    sort: true,
  });
}

function asFading(marks: DecorationSet): DecorationSet {
  const ranges: { from: number; to: number }[] = [];
  marks.between(0, Number.MAX_SAFE_INTEGER, (from, to) => {
    ranges.push({ from, to });
  });
  return Decoration.set(
    ranges.map(({ from, to }) => fading.range(from, to)),
    true,
  );
}

/** Starts the fading when the agent rests. */
class Fading implements PluginValue {
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(private readonly view: EditorView) {}

  update(update: ViewUpdate): void {
    const wrote = update.transactions.some((transaction) =>
      transaction.effects.some((effect) => effect.is(markedInsert)),
    );
    if (wrote) this.after(REST_MS, fade.of(null));
  }

  destroy(): void {
    if (this.timer) clearTimeout(this.timer);
  }

  private after(delay: number, effect: StateEffect<null>): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = null;
      this.view.dispatch({ effects: effect });
      if (effect.is(fade)) this.after(FADE_MS, clear.of(null));
    }, delay);
  }
}

/** Marks agents' text as it comes in. */
export function agentEdits(): Extension {
  return [agentText, flashField, ViewPlugin.fromClass(Fading)];
}

/** Scrolls to a range, puts the cursor there and lets it stand out for a moment. */
export function revealRange(view: EditorView, from: number, to: number): void {
  const length = view.state.doc.length;
  const start = Math.min(from, length);
  const end = Math.min(Math.max(start, to), length);
  view.dispatch({
    selection: EditorSelection.cursor(start),
    effects: [
      flash.of({ from: start, to: end }),
      EditorView.scrollIntoView(EditorSelection.range(start, end), { y: "center" }),
    ],
  });
  view.focus();
  setTimeout(() => {
    if (view.dom.isConnected) view.dispatch({ effects: flash.of(null) });
  }, FLASH_MS);
}

/**
 * Shows what turns did and nobody has judged yet: inserted text marked, deleted text struck through
 * where it was; walks from hunk to hunk; asks for a verdict.
 *
 * Hunks are found once by the ids of their units and from then on mapped through the edits like any
 * other position, so a keystroke costs the same however many there are. When something they stood
 * on is edited away they are found again, once typing pauses.
 */

import {
  EditorSelection,
  type Extension,
  Facet,
  MapMode,
  Prec,
  type Range,
  RangeSet,
  RangeSetBuilder,
  RangeValue,
  StateEffect,
  StateField,
  type Transaction,
} from "@codemirror/state";
import {
  type Command,
  Decoration,
  type DecorationSet,
  EditorView,
  keymap,
  type PluginValue,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import { UnitIndex } from "../../core/units.ts";
import { bindingOf } from "../collab/binding.ts";
import { type DeletedText, deletedDecoration } from "./deleted.ts";
import { type PlacedHunk, placeHunks, type ReviewHunk } from "./placing.ts";
import { reviewTheme } from "./theme.ts";

/** Hunks that lost their place are looked for again after this long without edits. */
const SETTLE_MS = 800;

export type Verdict = "accept" | "reject";

export interface ReviewConfig {
  /** What is under review, or where one is in it, has changed. Called after the update. */
  onChange: (view: EditorView) => void;
  /** A person has decided about hunks. */
  onVerdict: (verdict: Verdict, hunks: readonly ReviewHunk[]) => void;
}

const config = Facet.define<ReviewConfig, ReviewConfig | null>({
  combine: (values) => values[0] ?? null,
});

/** The beginning of a hunk; it stays in the text whatever is typed or deleted there. */
class Beginning extends RangeValue {
  constructor(readonly key: string) {
    super();
  }

  override mapMode = MapMode.Simple;
  override point = true;
  override startSide = -1;
  override endSide = -1;

  override eq(other: Beginning): boolean {
    return other.key === this.key;
  }
}

export interface Review {
  /** In the order of the text. */
  readonly hunks: readonly ReviewHunk[];
  readonly positions: ReadonlyMap<string, number>;
  readonly beginnings: RangeSet<Beginning>;
  readonly inserted: DecorationSet;
  readonly removed: DecorationSet;
  /** The hunk that commands are about. */
  readonly active: string | null;
  /** How many marks there should be: those of the hunks as they were found, and their parts. */
  readonly marks: number;
  /** Some hunks name units that have not arrived yet. */
  readonly missing: boolean;
  /** Goes up whenever the hunks are another set than before. */
  readonly generation: number;
}

const EMPTY: Review = {
  hunks: [],
  positions: new Map(),
  beginnings: RangeSet.empty,
  inserted: Decoration.none,
  removed: Decoration.none,
  active: null,
  marks: 0,
  missing: false,
  generation: 0,
};

interface Found {
  readonly placed: readonly PlacedHunk[];
  readonly missing: boolean;
  /** Where the active hunk has been judged, the next one becomes active. */
  readonly advance: boolean;
}

const placeAll = StateEffect.define<Found>();
const activate = StateEffect.define<string | null>();

/** What is under review in this editor. */
export const reviewField = StateField.define<Review>({
  create: () => EMPTY,
  update(review, transaction) {
    let next = review;
    if (transaction.docChanged && review.hunks.length > 0) next = mapped(next, transaction);
    for (const effect of transaction.effects) {
      if (effect.is(placeAll)) next = placed(next, effect.value, transaction);
      else if (effect.is(activate)) next = { ...next, active: effect.value };
    }
    const asked = transaction.effects.some((effect) => effect.is(activate) || effect.is(placeAll));
    if (transaction.selection && !asked && next.hunks.length > 0) {
      const active = hunkAt(next, transaction);
      if (active !== next.active) next = { ...next, active };
    }
    return next.active === review.active || next.hunks.length === 0
      ? next
      : shown(next, transaction);
  },
  provide: (field) => [
    EditorView.decorations.from(field, (review) => review.inserted),
    EditorView.decorations.from(field, (review) => review.removed),
  ],
});

function mark(key: string, active: boolean): Decoration {
  return Decoration.mark({
    class: active ? "cm-inserted cm-hunkActive" : "cm-inserted",
    hunk: key,
    tagName: "ins",
  });
}

function mapped(review: Review, transaction: Transaction): Review {
  let inserted = review.inserted.map(transaction.changes);
  let { marks } = review;
  // What somebody types inside a hunk is not the turn's.
  transaction.changes.iterChangedRanges((_fromA, _toA, from, to) => {
    if (to === from) return;
    const { rest, parted } = cutOut(inserted, from, to);
    inserted = rest;
    marks += parted;
  });
  return {
    ...review,
    inserted,
    marks,
    removed: review.removed.map(transaction.changes),
    beginnings: review.beginnings.map(transaction.changes),
  };
}

/** Marks without a range; `parted` is how many of them have become two. */
function cutOut(
  marks: DecorationSet,
  from: number,
  to: number,
): { rest: DecorationSet; parted: number } {
  const rest: Range<Decoration>[] = [];
  let touched = false;
  let parted = 0;
  marks.between(from, to, (start, end, value) => {
    if (end <= from || start >= to) return;
    touched = true;
    if (start < from && end > to) parted += 1;
    if (start < from) rest.push(value.range(start, from));
    if (end > to) rest.push(value.range(to, end));
  });
  if (!touched) return { rest: marks, parted };
  const cut = marks.update({
    filterFrom: from,
    filterTo: to,
    filter: (start, end) => end <= from || start >= to,
    add: rest,
    sort: true,
  });
  return { rest: cut, parted };
}

function placed(review: Review, found: Found, transaction: Transaction): Review {
  const doc = transaction.newDoc;
  const hunks = found.placed.map(({ hunk }) => hunk);
  const positions = new Map(hunks.map(({ key }, index) => [key, index]));
  const { active: before } = review;
  const stays = before === null || positions.has(before);
  const active = stays ? before : found.advance ? nextActive(review, positions) : null;
  const inserted: Range<Decoration>[] = [];
  const removed: Range<Decoration>[] = [];
  const beginnings = new RangeSetBuilder<Beginning>();
  for (const { hunk, from, ...parts } of found.placed) {
    const own = mark(hunk.key, hunk.key === active);
    beginnings.add(from, from, new Beginning(hunk.key));
    for (const range of parts.inserted) {
      if (range.to <= doc.length) inserted.push(own.range(range.from, range.to));
    }
    for (const part of parts.removed) {
      removed.push(deletedDecoration(doc, hunk.key, part, hunk.key === active));
    }
  }
  return {
    hunks,
    positions,
    active,
    beginnings: beginnings.finish(),
    inserted: Decoration.set(inserted, true),
    removed: Decoration.set(removed, true),
    marks: inserted.length + removed.length,
    missing: found.missing,
    generation: review.generation + 1,
  };
}

/** The hunk after the one that was active, or the last there is. */
function nextActive(review: Review, still: ReadonlyMap<string, number>): string | null {
  for (
    let index = review.positions.get(review.active ?? "") ?? 0;
    index < review.hunks.length;
    index++
  ) {
    const key = review.hunks[index]?.key;
    if (key !== undefined && still.has(key)) return key;
  }
  for (let index = review.hunks.length - 1; index >= 0; index--) {
    const key = review.hunks[index]?.key;
    if (key !== undefined && still.has(key)) return key;
  }
  return null;
}

/** Draws the active hunk as such; touches every mark once, when another hunk becomes active. */
function shown(review: Review, transaction: Transaction): Review {
  const { active } = review;
  const length = transaction.newDoc.length;
  const inserted: Range<Decoration>[] = [];
  review.inserted.between(0, length, (from, to, value) => {
    const key = value.spec.hunk as string;
    inserted.push(mark(key, key === active).range(from, to));
  });
  const removed: Range<Decoration>[] = [];
  review.removed.between(0, length, (at, _to, value) => {
    const { hunk, text } = value.spec.widget as DeletedText;
    removed.push(deletedDecoration(transaction.newDoc, hunk, { at, text }, hunk === active));
  });
  return {
    ...review,
    inserted: Decoration.set(inserted, true),
    removed: Decoration.set(removed, true),
  };
}

/** The hunk the cursor is in, or on whose deletion's line it stands. */
function hunkAt(review: Review, transaction: Transaction): string | null {
  const { head } = transaction.newSelection.main;
  let found: string | null = null;
  review.inserted.between(head, head, (_from, _to, value) => {
    found = value.spec.hunk as string;
    return false;
  });
  if (found !== null) return found;
  const line = transaction.newDoc.lineAt(head);
  review.removed.between(line.from, line.to, (_from, _to, value) => {
    found = (value.spec.widget as DeletedText).hunk;
    return false;
  });
  return found;
}

/**
 * Shows these hunks, and no others. With `advance`, the hunk after the active one becomes active
 * where that is not among them any more.
 */
export function setReview(view: EditorView, hunks: readonly ReviewHunk[], advance: boolean): void {
  const known = view.state.field(reviewField, false);
  if (!known || (hunks.length === 0 && known.hunks.length === 0 && !known.missing)) return;
  view.plugin(finder)?.find(hunks, advance);
}

/** Looks for the places of hunks; not more often than there is reason to. */
class Finder implements PluginValue {
  private wanted: readonly ReviewHunk[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(private readonly view: EditorView) {}

  update(update: ViewUpdate): void {
    const review = update.state.field(reviewField);
    if (update.docChanged && (review.missing || lost(review))) {
      if (this.timer) clearTimeout(this.timer);
      this.timer = setTimeout(() => this.find(this.wanted, false), SETTLE_MS);
    }
    const before = update.startState.field(reviewField);
    if (before.generation !== review.generation || before.active !== review.active) {
      update.state.facet(config)?.onChange(this.view);
    }
  }

  find(hunks: readonly ReviewHunk[], advance: boolean): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.wanted = hunks;
    const binding = bindingOf(this.view);
    if (!binding) return;
    // Places are those of the Y.Text, so the editor has to show that text first.
    binding.flush();
    const found = placeHunks(UnitIndex.of(binding.text), hunks);
    this.view.dispatch({ effects: placeAll.of({ ...found, advance }) });
  }

  destroy(): void {
    if (this.timer) clearTimeout(this.timer);
  }
}

/** Something a hunk stood on has been edited away. */
function lost(review: Review): boolean {
  return review.inserted.size + review.removed.size < review.marks;
}

const finder = ViewPlugin.fromClass(Finder);

/** Where a hunk begins now; `null` when it is not under review. */
export function beginningOf(review: Review, key: string): number | null {
  for (const cursor = review.beginnings.iter(); cursor.value; cursor.next()) {
    if (cursor.value.key === key) return cursor.from;
  }
  return null;
}

/** Where a hunk's inserted text ends; its beginning when it inserted none. */
function endOf(review: Review, key: string, from: number): number {
  let end = from;
  review.inserted.between(from, Number.MAX_SAFE_INTEGER, (_start, stop, value) => {
    if (value.spec.hunk === key) end = Math.max(end, stop);
  });
  return end;
}

/** Goes to a hunk of the review. */
export function goToHunk(view: EditorView, key: string): boolean {
  const review = view.state.field(reviewField);
  const from = beginningOf(review, key);
  if (from === null) return false;
  view.dispatch({
    selection: EditorSelection.cursor(from),
    effects: [
      activate.of(key),
      EditorView.scrollIntoView(EditorSelection.range(from, endOf(review, key, from)), {
        y: "center",
      }),
    ],
  });
  return true;
}

function walk(step: 1 | -1): Command {
  return (view) => {
    const review = view.state.field(reviewField);
    const { hunks, active, positions } = review;
    if (hunks.length === 0) return false;
    let index = active === null ? undefined : positions.get(active);
    if (index === undefined) {
      // From where the cursor is: those that begin before it are behind us.
      const { head } = view.state.selection.main;
      let before = -1;
      review.beginnings.between(0, head, (at) => {
        if (at < head) before += 1;
      });
      index = step > 0 ? before : before + 1;
    }
    const next = hunks[(index + step + hunks.length) % hunks.length];
    return next !== undefined && goToHunk(view, next.key);
  };
}

/** Goes to the next hunk, and from the last to the first. */
export const nextHunk: Command = walk(1);

/** Goes to the hunk before. */
export const previousHunk: Command = walk(-1);

function judge(verdict: Verdict, all: boolean): Command {
  return (view) => {
    const { hunks, active } = view.state.field(reviewField);
    const about = all ? hunks : hunks.filter(({ key }) => key === active);
    if (hunks.length === 0 || view.state.readOnly) return false;
    if (about.length > 0) view.state.facet(config)?.onVerdict(verdict, about);
    return true;
  };
}

export const acceptHunk: Command = judge("accept", false);
export const rejectHunk: Command = judge("reject", false);
export const acceptAll: Command = judge("accept", true);
export const rejectAll: Command = judge("reject", true);

/** Shows hunks that wait for a verdict; give them with `setReview`. */
export function review(given: ReviewConfig): Extension {
  return [
    config.of(given),
    reviewField,
    finder,
    reviewTheme,
    Prec.high(
      keymap.of([
        { key: "F7", run: nextHunk, shift: previousHunk, preventDefault: true },
        { key: "Alt-]", run: nextHunk },
        { key: "Alt-[", run: previousHunk },
        { key: "Alt-Enter", run: acceptHunk, shift: rejectHunk },
        { key: "Mod-Alt-Enter", run: acceptAll, shift: rejectAll },
      ]),
    ),
  ];
}

/**
 * Who wrote what: a thin bar beside every line in its authors' colors, and a card that says who,
 * when, and what an agent was asked. Ranges are made from ids once and mapped through the edits;
 * only the lines on the screen are looked at.
 */

import {
  type EditorState,
  type Extension,
  Facet,
  type Range,
  RangeSet,
  RangeValue,
  StateEffect,
  StateField,
  type Transaction,
} from "@codemirror/state";
import {
  type Command,
  type EditorView,
  GutterMarker,
  gutter,
  keymap,
  showTooltip,
  type Tooltip,
} from "@codemirror/view";
import { remoteEdit } from "../collab/binding.ts";
import type { Author, AuthoredRange } from "./authors.ts";
import { attributionTheme } from "./theme.ts";

/** How long the pointer rests on a bar before its card appears, and how long the card stays. */
const REST_MS = 200;
const LEAVE_MS = 250;

/** Authors shown on a line's bar; the card names all of them. */
const BAR_AUTHORS = 2;

export interface AttributionConfig {
  /** The person at this page; what is typed here is theirs at once. */
  you: Author | null;
  /** How a moment is told. */
  ago: (moment: string) => string;
  /** A sentence for people who listen. */
  onSaid: (sentence: string) => void;
}

const config = Facet.define<AttributionConfig, AttributionConfig | null>({
  combine: (values) => values[0] ?? null,
});

class Written extends RangeValue {
  constructor(readonly author: Author) {
    super();
  }

  override eq(other: Written): boolean {
    return other.author.key === this.author.key;
  }
}

const setRanges = StateEffect.define<readonly AuthoredRange[] | null>();
const setCard = StateEffect.define<number | null>();

interface Attributed {
  readonly written: RangeSet<Written>;
  readonly shown: boolean;
}

/** Who wrote which part of the text; empty while that is not asked for. */
export const authorsField = StateField.define<Attributed>({
  create: () => ({ written: RangeSet.empty, shown: false }),
  update(attributed, transaction) {
    let next = attributed;
    if (transaction.docChanged && attributed.shown) {
      next = { ...next, written: followEdits(next.written, transaction) };
    }
    for (const effect of transaction.effects) {
      if (!effect.is(setRanges)) continue;
      const { length } = transaction.newDoc;
      const ranges = (effect.value ?? [])
        .filter(({ from, to }) => from < to && to <= length)
        .map(({ from, to, author }) => new Written(author).range(from, to));
      next = { written: RangeSet.of(ranges), shown: effect.value !== null };
    }
    return next;
  },
});

function followEdits(written: RangeSet<Written>, transaction: Transaction): RangeSet<Written> {
  let next = written.map(transaction.changes);
  const you = transaction.annotation(remoteEdit) ? null : transaction.state.facet(config)?.you;
  transaction.changes.iterChangedRanges((_fromA, _toA, from, to) => {
    if (to === from) return;
    const add: Range<Written>[] = [];
    next.between(from, to, (start, end, value) => {
      if (start < from) add.push(value.range(start, Math.min(end, from)));
      if (end > to) add.push(value.range(Math.max(start, to), end));
    });
    // Whose it is that came from elsewhere is told by the next look at its ids.
    if (you) add.push(new Written(you).range(from, to));
    next = next.update({ filterFrom: from, filterTo: to, filter: () => false, add, sort: true });
  });
  return next;
}

/** The authors of a range, those who wrote most of it first. */
export function authorsBetween(state: EditorState, from: number, to: number): Author[] {
  const lengths = new Map<string, { author: Author; length: number }>();
  state.field(authorsField).written.between(from, to, (start, end, { author }) => {
    const length = Math.min(end, to) - Math.max(start, from);
    if (length <= 0) return;
    const known = lengths.get(author.key);
    if (known) known.length += length;
    else lengths.set(author.key, { author, length });
  });
  return [...lengths.values()].sort((a, b) => b.length - a.length).map(({ author }) => author);
}

/** The authors of the line at a position, its line break included. */
function lineAuthors(state: EditorState, position: number): Author[] {
  const line = state.doc.lineAt(Math.min(position, state.doc.length));
  return authorsBetween(state, line.from, Math.min(line.to + 1, state.doc.length));
}

class Bar extends GutterMarker {
  constructor(readonly authors: readonly Author[]) {
    super();
  }

  override eq(other: Bar): boolean {
    return (
      this.authors.length === other.authors.length &&
      this.authors.every((author, index) => {
        const { key, color } = other.authors[index] ?? {};
        return key === author.key && color === author.color;
      })
    );
  }

  override toDOM(): HTMLElement {
    const bar = document.createElement("div");
    bar.className = "cm-authorBar";
    for (const author of this.authors) {
      const part = document.createElement("span");
      part.className = author.kind === "agent" ? "cm-author cm-author-agent" : "cm-author";
      part.style.setProperty("--author", author.color);
      bar.append(part);
    }
    return bar;
  }
}

const cardField = StateField.define<Tooltip | null>({
  create: () => null,
  update(card, transaction) {
    let next = card;
    if (next && transaction.docChanged) {
      next = { ...next, pos: transaction.changes.mapPos(next.pos) };
    }
    for (const effect of transaction.effects) {
      if (effect.is(setRanges) && effect.value === null) next = null;
      if (!effect.is(setCard)) continue;
      next = effect.value === null ? null : cardAt(effect.value);
    }
    return next;
  },
  provide: (field) => showTooltip.from(field),
});

/** Another function for every card: CodeMirror goes on with the card that the same one made. */
function cardAt(pos: number): Tooltip {
  return { pos, above: true, create: (view) => createCard(view) };
}

function createCard(view: EditorView) {
  const dom = document.createElement("div");
  dom.className = "cm-authorCard";
  dom.setAttribute("role", "tooltip");
  const at = view.state.field(cardField)?.pos ?? 0;
  const authors = lineAuthors(view.state, at);
  const given = view.state.facet(config);
  for (const author of authors) dom.append(entry(author, given));
  if (authors.length === 0) dom.append("It is not known who wrote this line.");
  dom.addEventListener("mouseenter", () => leaving.delete(view));
  dom.addEventListener("mouseleave", () => closeSoon(view));
  return { dom };
}

function entry(author: Author, given: AttributionConfig | null): HTMLElement {
  const row = document.createElement("div");
  row.className = "cm-authorEntry";
  const dot = document.createElement("span");
  dot.className = author.kind === "agent" ? "cm-author cm-author-agent" : "cm-author";
  dot.style.setProperty("--author", author.color);
  const words = document.createElement("div");
  const name = document.createElement("strong");
  name.textContent = author.name;
  words.append(name);
  if (author.turn) {
    const about = document.createElement("span");
    about.textContent = ` for ${author.turn.asker} · ${given?.ago(author.turn.at) ?? ""}`;
    const prompt = document.createElement("p");
    prompt.textContent = `“${author.turn.prompt}”`;
    words.append(about, prompt);
  }
  row.append(dot, words);
  return row;
}

/** A line's authors in a sentence. */
export function sentence(line: number, authors: readonly Author[], ago: (at: string) => string) {
  if (authors.length === 0) return `Line ${line}: it is not known who wrote it.`;
  const parts = authors.map(({ name, turn }) =>
    turn ? `${name}, asked by ${turn.asker} ${ago(turn.at)}: “${turn.prompt}”` : name,
  );
  return `Line ${line} was written by ${parts.join("; ")}.`;
}

/** Shows and says who wrote the line of the cursor. */
export const whoWroteThisLine: Command = (view) => {
  const given = view.state.facet(config);
  if (!view.state.field(authorsField).shown || !given) return false;
  const { head } = view.state.selection.main;
  const line = view.state.doc.lineAt(head);
  view.dispatch({ effects: setCard.of(line.from) });
  given.onSaid(sentence(line.number, lineAuthors(view.state, head), given.ago));
  return true;
};

const closeCard: Command = (view) => {
  if (!view.state.field(cardField)) return false;
  view.dispatch({ effects: setCard.of(null) });
  return true;
};

/** Views whose card is about to close, or to open. */
const leaving = new WeakMap<EditorView, object>();

function later(view: EditorView, milliseconds: number, act: () => void): void {
  const token = {};
  leaving.set(view, token);
  setTimeout(() => {
    if (leaving.get(view) === token && view.dom.isConnected) act();
  }, milliseconds);
}

function closeSoon(view: EditorView): void {
  later(view, LEAVE_MS, () => closeCard(view));
}

/** Shows who wrote what; `null` hides it. */
export function setAuthors(view: EditorView, ranges: readonly AuthoredRange[] | null): void {
  const { shown } = view.state.field(authorsField);
  if (ranges === null && !shown) return;
  view.dispatch({ effects: setRanges.of(ranges) });
}

/** Bars and cards; give them their ranges with `setAuthors`. */
export function attribution(given: AttributionConfig): Extension {
  return [
    config.of(given),
    authorsField,
    cardField,
    attributionTheme,
    gutter({
      class: "cm-authors",
      lineMarker: (view, block) => {
        if (!view.state.field(authorsField).shown) return null;
        const authors = lineAuthors(view.state, block.from).slice(0, BAR_AUTHORS);
        return authors.length > 0 ? new Bar(authors) : null;
      },
      lineMarkerChange: (update) =>
        update.startState.field(authorsField) !== update.state.field(authorsField),
      domEventHandlers: {
        mousemove: (view, block) => {
          const shown = view.state.field(cardField)?.pos;
          if (shown === block.from) leaving.delete(view);
          else later(view, REST_MS, () => view.dispatch({ effects: setCard.of(block.from) }));
          return false;
        },
        mouseleave: (view) => {
          closeSoon(view);
          return false;
        },
        mousedown: (view, block) => {
          leaving.delete(view);
          view.dispatch({ effects: setCard.of(block.from) });
          return true;
        },
      },
    }),
    keymap.of([
      { key: "Shift-Alt-w", run: whoWroteThisLine },
      { key: "Escape", run: closeCard },
    ]),
  ];
}

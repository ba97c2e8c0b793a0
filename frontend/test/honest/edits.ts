/** What people do to a text, drawn from a seed: each edit makes one update or many. */

import * as Y from "yjs";
import type { Random } from "./random.ts";

/** Where somebody edits. */
export interface Hand {
  readonly doc: Y.Doc;
  readonly text: Y.Text;
  readonly undo: Y.UndoManager;
  readonly random: Random;
  /** The origin of their own edits, as undo tells them from others'. */
  readonly origin: object;
  /** Where they typed last. */
  caret: number;
}

/** Above this length a text is cut back, so that everything stays quick. */
const LONG = 24_000;
/** The characters of everyday typing. */
const LETTERS = "etaoinshrdlucmfwypvbgkjqxz      \n(){};=._";
const WORDS = [
  "let ",
  "value",
  "return ",
  "if (",
  ") {\n",
  "// ",
  "δοκιμή ",
  "тест ",
  "漢字かな ",
  "ß",
  "e\u0301",
];
const EMOJI = ["😀", "👩‍👩‍👧‍👦", "🇨🇦", "👍🏽", "🧑‍💻", "𝒳", "☃️", "🏴\u{e0067}\u{e0062}\u{e007f}"];
const COMPOSITIONS = [
  ["n", "に", "にh", "にほ", "にほn", "にほん", "日本"],
  ["ㅎ", "하", "한", "한ㄱ", "한그", "한글"],
  ["x", "xi", "xie", "xiex", "xiexi", "xiexie", "谢谢"],
  ["´", "é"],
];

type Edit = (hand: Hand) => void;

function change(hand: Hand, act: () => void): void {
  hand.doc.transact(act, hand.origin);
}

/** Any place, more often one near the last. */
function place(hand: Hand): number {
  const { random, text } = hand;
  const length = text.length;
  if (random.chance(0.6)) return Math.min(hand.caret, length);
  if (random.chance(0.2)) return length;
  return random.below(length + 1);
}

function phrase(random: Random, length: number): string {
  let text = "";
  while (text.length < length) text += random.pick(WORDS) + random.below(1000);
  return text.slice(0, length);
}

function type(hand: Hand, at: number, keys: number): number {
  const { random, text } = hand;
  let caret = at;
  for (let key = 0; key < keys; key++) {
    caret = Math.min(caret, text.length);
    if (caret > 0 && random.chance(0.08)) {
      caret -= 1;
      change(hand, () => text.delete(caret, 1));
    } else {
      const letter = LETTERS[random.below(LETTERS.length)] ?? " ";
      change(hand, () => text.insert(caret, letter));
      caret += 1;
    }
  }
  hand.caret = caret;
  return caret;
}

/** A place between the two halves of a character, if a random one is near. */
function insidePair(hand: Hand): number | null {
  const { random, text } = hand;
  const units = text.toString();
  const from = random.below(units.length + 1);
  for (let at = from; at < units.length; at++) {
    const unit = units.charCodeAt(at);
    if (unit >= 0xd800 && unit < 0xdc00) return at + 1;
  }
  return null;
}

/** This place, or the next one that is not inside a character: half a character cannot travel. */
function wholeFrom(units: string, at: number): number {
  const unit = units.charCodeAt(at);
  return Math.min(unit >= 0xdc00 && unit < 0xe000 ? at + 1 : at, units.length);
}

const ALL = {
  typing: (hand) => {
    type(hand, place(hand), hand.random.between(4, 24));
  },

  paste: (hand) => {
    const { random, text } = hand;
    const length = random.chance(0.04)
      ? random.between(10_000, 50_000)
      : random.between(1000, random.chance(0.2) ? 8000 : 1600);
    const at = place(hand);
    change(hand, () => text.insert(at, phrase(random, length)));
    hand.caret = at + length;
  },

  /** Several carets, a renaming, a formatter: many places in one transaction. */
  scattered: (hand) => {
    const { random, text } = hand;
    change(hand, () => {
      for (let times = random.between(2, 8); times > 0; times--) {
        const at = random.below(text.length + 1);
        const gone = Math.min(random.below(6), text.length - at);
        if (gone > 0 && random.chance(0.7)) text.delete(at, gone);
        if (random.chance(0.8)) text.insert(at, random.pick(WORDS));
      }
    });
  },

  /** An input method: what is composed is replaced again and again. */
  composition: (hand) => {
    const { random, text } = hand;
    const at = place(hand);
    let composed = 0;
    for (const step of random.pick(COMPOSITIONS)) {
      const gone = Math.max(0, Math.min(composed, text.length - at));
      if (random.chance(0.2)) {
        // Some browsers tell it as two changes.
        if (gone > 0) change(hand, () => text.delete(at, gone));
        const start = Math.min(at, text.length);
        change(hand, () => text.insert(start, step));
      } else {
        change(hand, () => {
          if (gone > 0) text.delete(at, gone);
          text.insert(Math.min(at, text.length), step);
        });
      }
      composed = step.length;
    }
    hand.caret = at + composed;
  },

  undo: (hand) => {
    for (let times = hand.random.between(1, 5); times > 0; times--) hand.undo.undo();
  },

  redo: (hand) => {
    for (let times = hand.random.between(0, 3); times > 0; times--) hand.undo.undo();
    for (let times = hand.random.between(1, 5); times > 0; times--) hand.undo.redo();
  },

  /** Deletes whatever stands there, whoever wrote it. */
  deletion: (hand) => {
    const { random, text } = hand;
    if (text.length === 0) return;
    const at = random.below(text.length);
    const most = random.chance(0.1) ? 2000 : 60;
    change(hand, () => text.delete(at, Math.min(random.between(1, most), text.length - at)));
    hand.caret = at;
  },

  /** Selects and types over it. */
  replacement: (hand) => {
    const { random, text } = hand;
    const at = random.below(text.length + 1);
    const gone = Math.min(random.below(40), text.length - at);
    change(hand, () => {
      if (gone > 0) text.delete(at, gone);
      text.insert(at, phrase(random, random.between(1, 30)));
    });
    type(hand, at + 1, 3);
  },

  emoji: (hand) => {
    const { random, text } = hand;
    const at = place(hand);
    const emoji = random.pick(EMOJI);
    change(hand, () => text.insert(at, emoji));
    hand.caret = at + emoji.length;
    // Some keyboards take one back unit by unit.
    if (random.chance(0.3)) change(hand, () => text.delete(at + emoji.length - 1, 1));
  },

  /** An edit between the two halves of a character. */
  "cut pair": (hand) => {
    const { random, text } = hand;
    const at = insidePair(hand);
    if (at === null) return;
    switch (random.below(4)) {
      case 0:
        return change(hand, () => text.insert(at, "|"));
      case 1:
        return change(hand, () => text.delete(at, 1));
      case 2:
        return change(hand, () => text.delete(at - 1, 1));
      default:
        return change(hand, () => {
          text.insert(at, "😀");
          text.delete(at - 1, 1);
        });
    }
  },

  /** Takes a line from here to there. */
  move: (hand) => {
    const { random, text } = hand;
    const units = text.toString();
    const from = wholeFrom(units, random.below(units.length + 1));
    const to = wholeFrom(units, from + random.between(1, 60));
    if (from === to) return;
    change(hand, () => {
      text.delete(from, to - from);
      text.insert(random.below(text.length + 1), units.slice(from, to));
    });
  },

  /** A bracket that closes itself, with something typed into it. */
  bracket: (hand) => {
    const { random, text } = hand;
    const at = place(hand);
    change(hand, () => text.insert(at, random.pick(["()", "{}", '""', "[\n  \n]"])));
    const end = type(hand, at + 1, random.between(1, 6));
    if (random.chance(0.3) && end < text.length) {
      // The closing one is typed over the one that is there.
      change(hand, () => {
        text.delete(end, 1);
        text.insert(end, ")");
      });
    }
  },
} satisfies Record<string, Edit>;

/** What somebody can do. */
export type EditKind = keyof typeof ALL;

const WEIGHTS: Record<EditKind, number> = {
  typing: 44,
  paste: 2,
  scattered: 8,
  composition: 8,
  undo: 6,
  redo: 4,
  deletion: 6,
  replacement: 8,
  emoji: 6,
  "cut pair": 2,
  move: 3,
  bracket: 6,
};

/** Draws what comes next. */
export function nextEdit(hand: Hand): EditKind {
  if (hand.text.length > LONG) return "deletion";
  return hand.random.weighted(WEIGHTS);
}

/** Does it. */
export function perform(hand: Hand, kind: EditKind): void {
  const { random, text } = hand;
  if (random.chance(0.3)) hand.undo.stopCapturing();
  if (hand.undo.undoStack.length > 60) hand.undo.clear();
  if (kind === "deletion" && text.length > LONG) {
    const at = random.below(2000);
    change(hand, () => text.delete(at, text.length - at - random.below(2000)));
    return;
  }
  ALL[kind](hand);
}

/** Typing at the end, as in notes that grow downwards. */
export function typeAtEnd(hand: Hand, keys: number): void {
  type(hand, hand.text.length, keys);
}

/** A hand in a document. */
export function newHand(doc: Y.Doc, random: Random): Hand {
  const text = doc.getText("content");
  const origin = {};
  const undo = new Y.UndoManager(text, {
    trackedOrigins: new Set([origin]),
    captureTimeout: random.pick([0, 500]),
  });
  return { doc, text, undo, random, origin, caret: 0 };
}

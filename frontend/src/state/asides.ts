/**
 * Text of this page that the server does not take: under ids that are not taken any more, of a
 * history that ended, or typed by somebody who may only read. It is set aside, shown, and given
 * back as an ordinary edit when the person says so; nothing of it is sent by itself.
 */

import * as Y from "yjs";
import { CONTENT } from "../core/protocol.ts";
import { type OnlyHere, onlyIn } from "../core/recovery.ts";
import { smallestEdit } from "../core/text.ts";
import { type CopyForm, type Kept, type KeptCopy, newKey } from "./kept.ts";

/** Copies kept of one document; one more drops the oldest. */
const MAX_COPIES = 8;

/** A copy that has something the document lacks. */
export interface Aside {
  key: string;
  document: string;
  path: string;
  reason: string;
  at: number;
  /** Characters that are only in the copy, and that only the copy has deleted. */
  added: number;
  removed: number;
  /** It can be put back as an edit, since it is known where it belongs. */
  placed: boolean;
  /** It has been put back, and goes once the server has stored that. */
  returning: boolean;
  /** This browser could not store it: it goes with the page. */
  onlyHere: boolean;
}

/** What a new copy is made of. */
export interface NewCopy {
  address: string;
  path: string;
  reason: string;
  form: CopyForm;
  bytes: Uint8Array;
}

interface Held {
  document: string;
  record: KeptCopy;
  text: Y.Text;
  stored: boolean;
}

export class Asides {
  private readonly held = new Map<string, Held>();
  private readonly shown = new Map<string, Aside>();
  private readonly returning = new Set<string>();

  constructor(
    private readonly kept: Kept,
    private readonly onChange: (asides: readonly Aside[]) => void,
  ) {}

  /**
   * Takes a copy in. It is shown once the document is here to compare it with. False when this
   * browser did not store it, so that it lasts as long as this page.
   */
  async add(document: string, copy: NewCopy): Promise<boolean> {
    const record: KeptCopy = { ...copy, key: newKey(), at: Date.now() };
    const held = this.hold(document, record, false);
    if (!held) return false;
    const storing = this.kept.put("copies", record);
    const own = [...this.held.values()].filter((each) => each.document === document);
    for (const old of own.slice(0, Math.max(0, own.length - MAX_COPIES))) this.drop(old.record.key);
    held.stored = await storing;
    const shown = this.shown.get(record.key);
    if (shown && held.stored) {
      this.shown.set(record.key, { ...shown, onlyHere: false });
      this.publish();
    }
    return held.stored;
  }

  /** There are copies of this document. */
  has(document: string): boolean {
    return [...this.held.values()].some((each) => each.document === document);
  }

  /** Which document a copy is of; `null` for one that is not there. */
  documentOf(key: string): string | null {
    return this.held.get(key)?.document ?? null;
  }

  /** Some copies would go with this page. */
  get areOnlyHere(): boolean {
    return [...this.held.values()].some(({ stored }) => !stored);
  }

  /** All copies, also those that nothing has been compared with. */
  texts(): { key: string; path: string; text: string }[] {
    return [...this.held.values()].map(({ record: { key, path }, text }) => ({
      key,
      path,
      text: text.toString(),
    }));
  }

  /** A copy was typed into its document again. It stays until that is stored. */
  returned(key: string): void {
    const shown = this.shown.get(key);
    if (!shown) return;
    this.returning.add(key);
    this.shown.set(key, { ...shown, returning: true });
    this.publish();
  }

  /** All of a document is stored, and with it the copies that were put back. */
  documentStored(document: string): void {
    for (const key of [...this.returning]) {
      if (this.held.get(key)?.document === document) this.drop(key);
    }
  }

  /** The replica they were put back into is gone before all was stored: they were not. */
  documentLost(document: string): void {
    for (const key of [...this.returning]) {
      const shown = this.shown.get(key);
      if (shown?.document !== document) continue;
      this.returning.delete(key);
      this.shown.set(key, { ...shown, returning: false });
      this.publish();
    }
  }

  /** Compares the copies of a document with it, those of earlier pages too, and shows what differs. */
  async settle(document: string, address: string, text: Y.Text): Promise<void> {
    for (const record of await this.kept.of("copies", address)) {
      this.hold(document, record, true);
    }
    for (const [key, { record, document: of, stored }] of this.held) {
      if (of !== document) continue;
      const only = this.compare(key, text);
      const added = only?.edits.reduce((sum, edit) => sum + edit.insert.length, 0) ?? 0;
      const removed = only?.edits.reduce((sum, edit) => sum + edit.to - edit.from, 0) ?? 0;
      if (added + removed === 0) {
        // Others have given it back meanwhile, or there was nothing of ours in it.
        this.held.delete(key);
        this.shown.delete(key);
        this.returning.delete(key);
        void this.kept.forget("copies", key);
        continue;
      }
      const { path, reason, at, form } = record;
      const placed = form === "replica" && !only?.conflict;
      const [returning, onlyHere] = [this.returning.has(key), !stored];
      const about = { key, document, path, reason, at, added, removed };
      this.shown.set(key, { ...about, placed, returning, onlyHere });
    }
    this.publish();
  }

  /** What a copy has that a text lacks. */
  compare(key: string, text: Y.Text): OnlyHere | null {
    const held = this.held.get(key);
    if (!held) return null;
    const theirs = text.toString();
    const mine = held.text.toString();
    switch (held.record.form) {
      case "typed":
        return {
          edits: mine ? [{ from: theirs.length, to: theirs.length, insert: `\n${mine}` }] : [],
          conflict: true,
        };
      case "text":
        return asTexts(theirs, mine);
      case "replica": {
        const only = onlyIn(held.text, text);
        return only.conflict ? asTexts(theirs, mine) : only;
      }
    }
  }

  /** Forgets a copy. */
  drop(key: string): void {
    this.held.get(key)?.text.doc?.destroy();
    this.held.delete(key);
    this.shown.delete(key);
    this.returning.delete(key);
    void this.kept.forget("copies", key);
    this.publish();
  }

  private hold(document: string, record: KeptCopy, stored: boolean): Held | null {
    const known = this.held.get(record.key);
    if (known) return known;
    const doc = new Y.Doc();
    try {
      Y.applyUpdate(doc, record.bytes);
    } catch {
      return null;
    }
    const held = { document, record, text: doc.getText(CONTENT), stored };
    this.held.set(record.key, held);
    return held;
  }

  private publish(): void {
    this.onChange([...this.shown.values()].sort((a, b) => a.at - b.at));
  }
}

function asTexts(theirs: string, mine: string): OnlyHere {
  const edit = smallestEdit(theirs, mine);
  return { edits: edit ? [edit] : [], conflict: true };
}

/**
 * Makes a copy of edits that were kept without the text around them. With the document they were
 * made in they get their places back; without it only what was typed is left.
 */
export function typedIn(
  edits: Uint8Array,
  base: Y.Doc | null,
): { form: CopyForm; bytes: Uint8Array } | null {
  try {
    if (base) {
      const doc = new Y.Doc();
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(base));
      Y.applyUpdate(doc, edits);
      if (doc.store.pendingStructs === null) {
        return { form: "replica", bytes: Y.encodeStateAsUpdate(doc) };
      }
    }
    let typed = "";
    for (const struct of Y.decodeUpdate(edits).structs) {
      if (struct instanceof Y.Item && struct.content instanceof Y.ContentString) {
        typed += struct.content.str;
      }
    }
    if (!typed) return null;
    const doc = new Y.Doc();
    doc.getText(CONTENT).insert(0, typed);
    return { form: "typed", bytes: Y.encodeStateAsUpdate(doc) };
  } catch {
    return null;
  }
}

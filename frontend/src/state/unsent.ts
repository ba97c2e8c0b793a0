/**
 * Text that was typed at this page and that the server does not have, or does not take: what is set
 * aside, whether it is anywhere but here, and how a person gets it back.
 */

import type { OnlyHere } from "../core/recovery.ts";
import { type Aside, Asides, typedIn } from "./asides.ts";
import type { Kept } from "./kept.ts";
import type { OpenDocument } from "./open-document.ts";

/** While text is set aside, what arrives is compared with it at most this often. */
const COMPARE_EVERY_MS = 1000;

/** A text that the server may not have, for saving it by hand. */
export interface UnsentText {
  key: string;
  path: string;
  text: string;
}

export interface UnsentConfig {
  opened: ReadonlyMap<string, OpenDocument>;
  /** `{project}/{document}`. */
  address: (document: string) => string;
  /** `null` for a document that the list of files does not have any more. */
  path: (document: string) => string | null;
  kept: Kept;
  onChange: (asides: readonly Aside[]) => void;
}

export class Unsent {
  private readonly asides: Asides;
  /** Kept edits that this page has set aside; the next page tries them again. */
  private readonly setAside = new Set<string>();
  private readonly comparing = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(private readonly config: UnsentConfig) {
    this.asides = new Asides(config.kept, config.onChange);
  }

  /** Something typed here would be lost with this page. */
  get isOnlyHere(): boolean {
    return this.areCopiesOnlyHere || this.documents.some((document) => document.isOnlyHere);
  }

  /** A copy that was set aside would be lost with this page. */
  get areCopiesOnlyHere(): boolean {
    return this.asides.areOnlyHere;
  }

  /** Keeps what is only here in this browser. False when some of it cannot be. */
  async keepAll(): Promise<boolean> {
    await Promise.all(this.documents.map((document) => document.keepNow()));
    return !this.isOnlyHere;
  }

  /** Everything that the server may not have, for a person who can reach it no more. */
  texts(): UnsentText[] {
    const typed = this.documents
      .filter((document) => document.hasUnstored)
      .map(({ id, key, text }) => ({
        key,
        path: this.config.path(id) ?? "text.txt",
        text: text.toString(),
      }));
    return [...typed, ...this.asides.texts()];
  }

  /** What a copy that was set aside has and the document lacks; `null` while either is not there. */
  compare(key: string): OnlyHere | null {
    const document = this.config.opened.get(this.asides.documentOf(key) ?? "");
    return document?.state.hasText ? this.asides.compare(key, document.text) : null;
  }

  /** A copy was typed into its document again; it is forgotten once that is stored. */
  returned(key: string): void {
    this.asides.returned(key);
  }

  /** Forgets a copy that was set aside. */
  drop(key: string): void {
    this.asides.drop(key);
  }

  /** Kept edits under this key are not tried again by this page. */
  readonly isSetAside = (key: string): boolean => this.setAside.has(key);

  /** Sets the text of a replica aside that the server refuses. The replica is not to be used again. */
  refused(document: OpenDocument, reason: string): void {
    const { id } = document;
    for (const key of document.giveUp()) this.setAside.add(key);
    // Text that nobody typed at this page is others', and theirs to send.
    if (reason === "epoch" ? !document.hasUnstored : !document.hasEdits) return;
    const form = reason === "epoch" ? "text" : "replica";
    const copy = { ...this.about(id), reason, form, bytes: document.copy() } as const;
    void this.asides.add(id, copy).then((stored) => {
      if (stored) void document.forgetKept();
    });
  }

  /**
   * Sets aside what an earlier page kept and this one may not send. True when it need not be kept as
   * edits any longer.
   */
  readonly strange = async (id: string, key: string, edits: Uint8Array): Promise<boolean> => {
    const document = this.config.opened.get(id);
    if (!document) return false;
    this.setAside.add(key);
    const reason = document.state.readOnly ? "read_only" : "epoch";
    const made = typedIn(edits, reason === "read_only" ? document.doc : null);
    const adding = made
      ? this.asides.add(id, { ...this.about(id), reason, ...made })
      : Promise.resolve(true);
    this.look(id);
    return adding;
  };

  /** Compares the copies of a document with it, those of earlier pages too. */
  look(id: string): void {
    const document = this.config.opened.get(id);
    if (!document?.state.hasText) return;
    void this.asides.settle(id, this.config.address(id), document.text);
  }

  /** Others have changed a document, and may have brought what is aside of it. */
  lookSoon(id: string): void {
    if (this.comparing.has(id) || !this.asides.has(id)) return;
    const look = () => {
      this.comparing.delete(id);
      this.look(id);
    };
    this.comparing.set(id, setTimeout(look, COMPARE_EVERY_MS));
  }

  /** All of a document is stored. */
  stored(id: string): void {
    this.asides.documentStored(id);
  }

  /** A replica is gone, whatever of it was stored. */
  closed(id: string): void {
    this.asides.documentLost(id);
  }

  destroy(): void {
    for (const timer of this.comparing.values()) clearTimeout(timer);
  }

  private get documents(): OpenDocument[] {
    return [...this.config.opened.values()];
  }

  private about(id: string): { address: string; path: string } {
    return { address: this.config.address(id), path: this.config.path(id) ?? "document" };
  }
}

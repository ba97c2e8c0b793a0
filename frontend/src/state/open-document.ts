/** One text document that is open in this tab: its replica and its provider. */

import { HocuspocusProvider } from "@hocuspocus/provider";
import { createDecoder, readVarInt, readVarString, readVarUint } from "lib0/decoding";
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import { decodePresence } from "../core/decode.ts";
import { refusalVerdict } from "../core/errors.ts";
import { CONTENT, type PresenceUser } from "../core/protocol.ts";
import { type Kept, newKey } from "./kept.ts";
import { Returning } from "./returning.ts";
import type { ProjectSocket } from "./socket.ts";

/** Hocuspocus' number of the message that says an update was stored or refused. */
const SYNC_STATUS = 8;

/** A refusal is followed at once by what the server does about it; without that we may only read. */
const AFTER_REFUSAL_MS = 1500;

/** Refusals of our text in a row after which it is not taken whatever we do. */
const MAX_STRIKES = 2;

/** Edits that are stored sooner than this need not be kept by the browser as well. */
const KEEP_AFTER_MS = 600;

export type DocumentPhase =
  /** Its text has not arrived yet. */
  | "loading"
  | "ready"
  /** The server does not let us in. */
  | "denied"
  /** The server has closed it for us. */
  | "closed"
  /** The server does not take the text this page has; the project's session sets it aside. */
  | "refused";

export interface DocumentState {
  /** Names the replica: another one of the same document has another key. */
  key: string;
  phase: DocumentPhase;
  /** The server takes no edits of ours here. */
  readOnly: boolean;
  /** Its text has arrived once, so there is something to show. */
  hasText: boolean;
  /** Our updates that the server has not stored yet. */
  unsaved: number;
  /** What is unsaved is in this browser's storage too. */
  kept: boolean;
  /** The server has too much to do, and we ask again by ourselves. */
  waiting: boolean;
  reason: string;
}

export interface OpenDocumentConfig {
  id: string;
  address: string;
  /** The history this replica belongs to. */
  epoch: string;
  socket: ProjectSocket;
  token: () => Promise<string>;
  user: PresenceUser;
  kept: Kept;
  /** False when a denial came of a socket that is being replaced anyway. */
  denialCounts: (reason: string) => boolean;
  onChange: (id: string, state: DocumentState) => void;
  /** The text here cannot be brought together with the text there. */
  onRefused: (id: string, reason: string) => void;
  /** Kept edits that this page has set aside already, and does not try again. */
  isSetAside: (key: string) => boolean;
  /**
   * Edits kept by this browser belong to another history of the document. True when they need not
   * be kept any longer.
   */
  onStrangeEdits: (id: string, key: string, bytes: Uint8Array) => Promise<boolean>;
}

/** Where the reader was, to come back to. */
export interface Place {
  anchor: number;
  head: number;
  scrollTop: number;
}

let made = 0;

export class OpenDocument {
  readonly id: string;
  /** Another one for every replica, also for a second replica of the same document. */
  readonly key = `replica-${++made}`;
  readonly doc = new Y.Doc();
  readonly text: Y.Text;
  readonly awareness: Awareness;
  place: Place | null = null;
  state: DocumentState = {
    key: this.key,
    phase: "loading",
    readOnly: true,
    hasText: false,
    unsaved: 0,
    kept: false,
    waiting: false,
    reason: "",
  };
  private readonly provider: HocuspocusProvider;
  private readonly returning: Returning;
  private strikes = 0;
  private refusing: ReturnType<typeof setTimeout> | null = null;
  private keeping: ReturnType<typeof setTimeout> | null = null;
  /** Where this replica keeps what is not stored. */
  private readonly record = newKey();
  /** Counts the edits made here, to know which of them are stored or kept. */
  private edits = 0;
  private storedEdits = 0;
  private keptEdits = 0;
  /** Its text was set aside: nothing more of it is kept. */
  private givenUp = false;
  /** Records of earlier pages that this replica has taken over. */
  private inherited: string[] = [];
  /** Some of them build on text that is not here, and wait for a day when it is. */
  private gaps = false;
  private readKept = false;
  /** What the document had when everything was stored last. */
  private stored: Uint8Array = new Uint8Array([0]);
  private destroyed = false;

  constructor(private readonly config: OpenDocumentConfig) {
    this.id = config.id;
    this.text = this.doc.getText(CONTENT);
    this.returning = new Returning(config.socket, () => this.reattach());
    this.provider = new HocuspocusProvider({
      name: config.address,
      document: this.doc,
      websocketProvider: config.socket,
      token: config.token,
      onAuthenticated: ({ scope }) => {
        this.set({ readOnly: scope !== "read-write", waiting: false, reason: "" });
        // A document the server had closed or denied is let in again by the same message.
        if (this.state.phase === "denied" || this.state.phase === "closed") {
          this.set({ phase: "loading" });
        }
      },
      onAuthenticationFailed: ({ reason }) => {
        if (!config.denialCounts(reason)) return;
        if (refusalVerdict(reason) === "later") this.returnLater(reason);
        else this.set({ phase: "denied", reason });
      },
      onSynced: ({ state }) => {
        if (!state) return;
        if (this.state.phase === "loading") this.set({ phase: "ready", hasText: true });
        void this.takeOver();
      },
      onUnsyncedChanges: ({ number }) => {
        this.set({ unsaved: number });
        if (number === 0) this.allStored();
        else this.keepSoon();
      },
      onClose: ({ event }) => {
        // The socket's own end has a code of its own; 1000 stands for this document alone.
        if (event.code === 1000 && config.socket.status === "connected") {
          this.closedWith(event.reason ?? "");
        } else this.awaitNoVerdict();
      },
      onMessage: ({ event }) => {
        if (wasRefused(event.data)) this.refusedSoon();
      },
    });
    const awareness = this.provider.awareness;
    if (!awareness) throw new Error("a provider made without awareness: null has one");
    this.awareness = awareness;
    this.setUser(config.user);
    this.doc.on("update", (_update: Uint8Array, origin: unknown) => {
      if (origin !== this.provider) this.edits += 1;
    });
    addEventListener("pagehide", this.onPageHide);
    this.provider.attach();
  }

  /** Says who we are to the others in this document. */
  setUser(user: PresenceUser): void {
    this.awareness.setLocalState({ ...this.awareness.getLocalState(), user });
  }

  /** Asks to be let in again. */
  reattach(): void {
    if (this.destroyed) return;
    this.returning.stop();
    const { hasText } = this.state;
    // A text that is there stays open for typing, as it does while the server cannot be reached.
    this.set({ phase: hasText ? "ready" : "loading", waiting: false, reason: "" });
    this.provider.detach();
    this.provider.attach();
  }

  /**
   * True for what an agent writes. Agents write under ids of their own that no presence shows,
   * and their presence says when they do.
   */
  readonly isAgentWriting = (transaction: Y.Transaction): boolean => {
    if (transaction.local || transaction.origin !== this.provider) return false;
    const people = new Set<number>([this.doc.clientID]);
    let writing = false;
    for (const [client, raw] of this.awareness.getStates()) {
      const state = decodePresence(raw);
      if (state?.user.kind === "agent") writing ||= state.status === "writing";
      else people.add(client);
    }
    if (!writing) return false;
    for (const [client, clock] of transaction.afterState) {
      if (clock > (transaction.beforeState.get(client) ?? 0) && people.has(client)) return false;
    }
    return true;
  };

  /** Everything this replica has, for setting it aside. */
  copy(): Uint8Array {
    return Y.encodeStateAsUpdate(this.doc);
  }

  /** Something was typed or taken back in this replica, or by the page before it. */
  get hasEdits(): boolean {
    return this.edits > 0;
  }

  /** Some of that is not known to be stored by the server. */
  get hasUnstored(): boolean {
    return this.edits > this.storedEdits;
  }

  /** Some of that is not in this browser's storage either. */
  get isOnlyHere(): boolean {
    return this.edits > Math.max(this.storedEdits, this.keptEdits);
  }

  /** Keeps what is not stored in this browser, at once. False when it cannot. */
  async keepNow(): Promise<boolean> {
    if (this.isOnlyHere) await this.keep();
    return !this.isOnlyHere;
  }

  /** Stops keeping; returns the names of the records that were kept, which stay. */
  giveUp(): readonly string[] {
    this.givenUp = true;
    this.stopKeeping();
    return [this.record, ...this.inherited];
  }

  /** Gives up what this browser keeps for it, too. */
  async forgetKept(): Promise<void> {
    this.giveUp();
    await this.forgetRecords();
  }

  private async forgetRecords(): Promise<void> {
    this.stopKeeping();
    const keys = [this.record, ...this.inherited];
    this.inherited = [];
    this.gaps = false;
    await Promise.all(keys.map((key) => this.config.kept.forget("edits", key)));
  }

  destroy(): void {
    // What is only here outlives this replica where the browser lets it.
    if (this.isOnlyHere) void this.keep();
    this.destroyed = true;
    removeEventListener("pagehide", this.onPageHide);
    this.stopKeeping();
    if (this.refusing) clearTimeout(this.refusing);
    this.returning.stop();
    this.provider.destroy();
    this.doc.destroy();
  }

  private set(change: Partial<DocumentState>): void {
    if (this.destroyed) return;
    this.state = { ...this.state, ...change };
    this.config.onChange(this.id, this.state);
  }

  private awaitNoVerdict(): void {
    if (this.refusing) clearTimeout(this.refusing);
    this.refusing = null;
  }

  private closedWith(reason: string): void {
    this.awaitNoVerdict();
    switch (refusalVerdict(reason)) {
      case "later":
        this.returnLater(reason);
        break;
      case "text":
        this.strike(reason);
        break;
      case "final":
        this.set({ phase: "closed", reason });
    }
  }

  /** Our text was refused. Once can be an accident of timing; the handshake then heals it. */
  private strike(reason: string): void {
    this.strikes += 1;
    if (this.strikes < MAX_STRIKES) this.returnLater("");
    else this.refused(reason);
  }

  private refused(reason: string): void {
    this.returning.stop();
    this.set({ phase: "refused", waiting: false, reason });
    this.config.onRefused(this.id, reason);
  }

  /** An update was not taken. If nothing follows, the server lets us read and no more. */
  private refusedSoon(): void {
    if (this.refusing || this.destroyed) return;
    this.refusing = setTimeout(() => {
      this.refusing = null;
      this.refused("read_only");
    }, AFTER_REFUSAL_MS);
  }

  private returnLater(reason: string): void {
    this.set({ waiting: reason !== "", reason });
    this.returning.later();
  }

  /** The server has everything: nothing of it needs to be kept here. */
  private allStored(): void {
    this.strikes = 0;
    this.returning.reset();
    this.storedEdits = this.edits;
    this.stored = Y.encodeStateVector(this.doc);
    const { kept } = this.state;
    if (kept) this.set({ kept: false });
    if (this.inherited.length > 0 && !this.gaps) void this.forgetRecords();
    else if (kept) void this.config.kept.forget("edits", this.record);
    else this.stopKeeping();
  }

  private stopKeeping(): void {
    if (this.keeping) clearTimeout(this.keeping);
    this.keeping = null;
  }

  private keepSoon(): void {
    // What the handshake counts while a text loads is no edit of ours.
    if (this.state.phase !== "ready" || this.keeping !== null) return;
    this.keeping = setTimeout(() => {
      this.keeping = null;
      void this.keep();
    }, KEEP_AFTER_MS);
  }

  private async keep(): Promise<void> {
    if (this.destroyed || this.givenUp || this.state.unsaved === 0) return;
    const { edits } = this;
    const done = await this.config.kept.put("edits", {
      key: this.record,
      address: this.config.address,
      epoch: this.config.epoch,
      at: Date.now(),
      bytes: Y.encodeStateAsUpdate(this.doc, this.stored),
    });
    if (done) this.keptEdits = Math.max(this.keptEdits, edits);
    // The server may have stored it all meanwhile.
    if (this.state.unsaved === 0) void this.config.kept.forget("edits", this.record);
    else {
      this.set({ kept: done });
      if (done && edits !== this.edits) this.keepSoon();
    }
  }

  private readonly onPageHide = (): void => void this.keep();

  /** Takes over what an earlier page could not send. */
  private async takeOver(): Promise<void> {
    if (this.readKept) return;
    this.readKept = true;
    const records = await this.config.kept.of("edits", this.config.address);
    if (this.destroyed) return;
    for (const { key, epoch, bytes } of records) {
      if (key === this.record || this.config.isSetAside(key)) continue;
      if (epoch !== this.config.epoch || this.state.readOnly) {
        void this.config.onStrangeEdits(this.id, key, bytes).then((done) => {
          if (done) void this.config.kept.forget("edits", key);
        });
        continue;
      }
      try {
        Y.applyUpdate(this.doc, bytes, "kept");
      } catch {
        // A torn record says nothing; what it was about is gone with the page that wrote it.
      }
      this.inherited.push(key);
      this.gaps = this.doc.store.pendingStructs !== null;
    }
    if (this.state.unsaved === 0) this.allStored();
  }
}

/** Reads a frame: is it the refusal of an update? */
function wasRefused(data: unknown): boolean {
  if (!(data instanceof ArrayBuffer)) return false;
  try {
    const decoder = createDecoder(new Uint8Array(data));
    readVarString(decoder);
    return readVarUint(decoder) === SYNC_STATUS && readVarInt(decoder) === 0;
  } catch {
    return false;
  }
}

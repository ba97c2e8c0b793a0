/** A browser tab: a document, the hand that edits it, and its link to the server.
 *
 * It speaks as the stock Hocuspocus provider 4.8 does: what it sends on opening and in which order, what it sends
 * while nobody has answered yet, and how it counts what is not saved.
 */

import { Awareness, encodeAwarenessUpdate } from "y-protocols/awareness";
import * as Y from "yjs";
import { type EditKind, type Hand, newHand, nextEdit, perform, typeAtEnd } from "./edits.ts";
import { type Heard, Link } from "./link.ts";
import type { Random } from "./random.ts";

/** Why an update was made. */
export type Kind = EditKind | "typing at the end" | "merged" | "late store" | "reply" | "other";

/** A person with their token. */
export interface Member {
  readonly name: string;
  readonly token: string;
}

/** Where a peer tells what it does. */
export interface Journal {
  sent(peer: Peer, kind: Kind, bytes: Uint8Array): void;
  opened(peer: Peer): void;
  refused(peer: Peer, reason: string): void;
}

/** How a tab behaves all its life. */
export interface Habits {
  /** Collects what is deleted, as documents do unless they keep versions. */
  gc: boolean;
  /** Ticks over which updates are merged into one, as `flushDelay` does; 0 for never. */
  flush: number;
  /** Shows presence, and with it its client id. */
  announces: boolean;
}

/** Where a document's updates come from that the server is not told of. */
const CROSS_TAB = { name: "another tab" };
/** Updates sent before the first reply: a person cannot type more while a connection is made. */
const EARLY = 150;

export class Peer {
  hand: Hand;
  private awareness: Awareness | null = null;
  private readonly link: Link;
  private batch: Uint8Array[] = [];
  private flushAt = 0;
  /** Updates made while the socket was being opened. */
  private early: Uint8Array[] = [];
  private sentEarly = 0;
  private heardAnything = false;
  private kind: Kind = "other";
  private now = 0;
  /** What its local store has, and when that is loaded into the new document of a reloaded tab. */
  private store: { bytes: Uint8Array; at: "opened" | "synced" | "replied" } | null = null;
  /** Not before this tick it comes back. */
  offlineUntil = 0;
  unsynced = 0;
  synced = false;
  replied = false;
  refusal: string | null = null;

  constructor(
    readonly index: number,
    readonly member: Member,
    readonly habits: Habits,
    private readonly random: Random,
    private readonly journal: Journal,
    url: string,
    address: string,
    /** Other tabs of the same browser, told directly. */
    readonly siblings: () => readonly Peer[],
  ) {
    this.hand = this.newDocument();
    this.link = new Link(url, address, random.fork(), {
      opened: () => this.opened(),
      heard: (what) => this.heard(what),
      closed: (code) => this.closed(code),
    });
  }

  get doc(): Y.Doc {
    return this.hand.doc;
  }

  get text(): string {
    return this.hand.text.toString();
  }

  /** For each client how much of its text is here or in the local store. */
  clocks(): Map<number, number> {
    const clocks = Y.decodeStateVector(Y.encodeStateVector(this.doc));
    const stored = this.store
      ? Y.decodeStateVector(Y.encodeStateVectorFromUpdate(this.store.bytes))
      : [];
    for (const [client, clock] of stored) {
      clocks.set(client, Math.max(clock, clocks.get(client) ?? 0));
    }
    return clocks;
  }

  get isDown(): boolean {
    return this.link.isDown;
  }

  /** Whether more would only pile up. */
  get isBusy(): boolean {
    return this.unsynced > 400 || (!this.link.isDown && !this.replied && this.sentEarly > EARLY);
  }

  get isSettled(): boolean {
    return (
      this.link.isOpen &&
      this.synced &&
      this.replied &&
      this.unsynced === 0 &&
      this.batch.length === 0 &&
      this.store === null &&
      this.link.isQuiet
    );
  }

  /** Whether it has something that depends on what it was not told. */
  get waits(): boolean {
    const { pendingStructs, pendingDs } = this.doc.store;
    return pendingStructs !== null || pendingDs !== null;
  }

  /** Why it is not settled. */
  describe(): string {
    const { unsynced, synced, replied } = this;
    const state = {
      unsynced,
      synced,
      replied,
      pending: this.waits,
      down: this.isDown,
      quiet: this.link.isQuiet,
    };
    return `peer ${this.index}: ${JSON.stringify(state)}`;
  }

  /** A burst of editing; gives what it was. */
  edit(kind: EditKind = nextEdit(this.hand)): void {
    this.kind = kind;
    perform(this.hand, kind);
    this.kind = "other";
  }

  /** As in notes that grow downwards. */
  typeAtEnd(keys: number): void {
    this.kind = "typing at the end";
    typeAtEnd(this.hand, keys);
    this.kind = "other";
  }

  setDelay(ticks: number): void {
    this.link.delay = ticks;
  }

  /** The connection breaks. */
  drop(offlineUntil: number): void {
    this.link.drop();
    this.offlineUntil = offlineUntil;
    this.forgetConnection();
  }

  connect(): void {
    this.forgetConnection();
    this.link.connect();
  }

  /** Asks again for everything, as `forceSync` does. */
  forceSync(): void {
    if (!this.link.isOpen) return;
    this.unsynced = 1;
    this.link.sync("step 1", Y.encodeStateVector(this.doc));
  }

  /** The page is loaded again: a new document with a new client id, and a local store with everything. */
  reload(at: "before" | "opened" | "synced" | "replied"): void {
    let bytes = Y.encodeStateAsUpdate(this.doc);
    // What the last page had not loaded yet is still in the store.
    if (this.store) bytes = Y.mergeUpdates([this.store.bytes, bytes]);
    this.close();
    this.batch = [];
    this.hand = this.newDocument();
    this.store = null;
    if (at === "before") Y.applyUpdate(this.doc, bytes, "store");
    else this.store = { bytes, at };
  }

  /** Yjs saw its own client id in use elsewhere and draws another. */
  changeClient(): void {
    this.doc.clientID = this.random.below(2 ** 32);
  }

  close(): void {
    this.link.drop();
    this.forgetConnection();
    this.hand.undo.destroy();
    this.awareness?.destroy();
    this.doc.destroy();
  }

  pump(now: number): void {
    this.now = now;
    if (this.batch.length > 0 && now >= this.flushAt) this.flush();
    this.link.pump(now);
  }

  /** Nothing waits any more. */
  hurry(): void {
    if (this.batch.length > 0) this.flush();
    this.link.hurry();
  }

  get isCongested(): boolean {
    return this.link.unsent > 2 ** 20;
  }

  private newDocument(): Hand {
    const doc = new Y.Doc({ gc: this.habits.gc });
    doc.clientID = this.random.below(2 ** 32);
    if (this.habits.announces) {
      this.awareness = new Awareness(doc);
      // Nothing is renewed: a story is over before that would be needed.
      clearInterval(this.awareness._checkInterval);
      this.awareness.setLocalState({ cursor: null });
    }
    doc.on("update", (bytes: Uint8Array, origin: unknown) => this.changed(bytes, origin));
    return newHand(doc, this.random.fork());
  }

  private changed(bytes: Uint8Array, origin: unknown): void {
    if (origin === this || origin === CROSS_TAB) return;
    for (const sibling of this.siblings()) {
      // The channel between tabs loses something when one is busy or asleep.
      if (sibling !== this && !this.random.chance(0.05)) {
        Y.applyUpdate(sibling.doc, bytes, CROSS_TAB);
      }
    }
    if (this.habits.flush === 0) {
      this.unsynced += 1;
      this.sendUpdate(bytes, this.kind);
      return;
    }
    if (this.batch.length === 0) {
      this.unsynced += 1;
      this.flushAt = this.now + this.habits.flush;
    }
    this.batch.push(bytes);
  }

  private flush(): void {
    const merged = Y.mergeUpdates(this.batch);
    this.batch = [];
    this.sendUpdate(merged, "merged");
  }

  private sendUpdate(bytes: Uint8Array, kind: Kind): void {
    if (this.link.isOpen) {
      if (!this.replied) this.sentEarly += 1;
      this.journal.sent(this, kind, bytes);
      this.link.sync("update", bytes);
    } else if (!this.link.isDown) {
      this.sentEarly += 1;
      this.early.push(bytes);
    }
    // What is made while there is no socket goes with the reply after the next one opened.
  }

  private forgetConnection(): void {
    this.synced = false;
    this.replied = false;
    this.heardAnything = false;
    this.early = [];
    this.sentEarly = 0;
  }

  private opened(): void {
    this.journal.opened(this);
    this.unsynced = 1;
    this.link.authenticate(this.member.token);
    this.link.sync("step 1", Y.encodeStateVector(this.doc));
    if (this.awareness) {
      const { clientID } = this.awareness;
      this.awareness.setLocalState({ cursor: null });
      this.link.presence(encodeAwarenessUpdate(this.awareness, [clientID]));
    }
    this.loadStore("opened");
  }

  private loadStore(at: "opened" | "synced" | "replied"): void {
    if (this.store?.at !== at) return;
    const { bytes } = this.store;
    this.store = null;
    this.kind = "late store";
    Y.applyUpdate(this.doc, bytes, "store");
    this.kind = "other";
  }

  private heard(what: Heard): void {
    if (!this.heardAnything) {
      this.heardAnything = true;
      for (const bytes of this.early) {
        this.journal.sent(this, "other", bytes);
        this.link.sync("update", bytes);
      }
      this.early = [];
    }
    switch (what.type) {
      case "step 1": {
        const reply = Y.encodeStateAsUpdate(this.doc, what.bytes);
        this.journal.sent(this, "reply", reply);
        this.link.sync("step 2", reply);
        this.replied = true;
        this.loadStore("replied");
        break;
      }
      case "step 2":
        Y.applyUpdate(this.doc, what.bytes, this);
        this.synced = true;
        this.loadStore("synced");
        break;
      case "update":
        Y.applyUpdate(this.doc, what.bytes, this);
        break;
      case "saved":
        this.unsynced = Math.max(0, this.unsynced - 1);
        break;
      case "refused":
        this.refusal = what.reason;
        this.journal.refused(this, what.reason);
        break;
      default:
        break;
    }
  }

  private closed(code: number): void {
    this.forgetConnection();
    if (code >= 4400) {
      this.refusal = `close code ${code}`;
      this.journal.refused(this, this.refusal);
    }
  }
}

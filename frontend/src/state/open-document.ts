/** One text document that is open in this tab: its replica and its provider. */

import { HocuspocusProvider, type HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { createDecoder, readVarInt, readVarString, readVarUint } from "lib0/decoding";
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import { decodePresence } from "../core/decode.ts";
import { CONTENT, type PresenceUser } from "../core/protocol.ts";

/** Hocuspocus' number of the message that says an update was stored or refused. */
const SYNC_STATUS = 8;

export type DocumentPhase =
  /** Its text has not arrived yet. */
  | "loading"
  | "ready"
  /** The server does not let us in. */
  | "denied"
  /** The server has closed it for us. */
  | "closed"
  /** The server has refused an edit of ours; the text here is not the text there. */
  | "refused";

export interface DocumentState {
  /** Names the replica: another one of the same document has another key. */
  key: string;
  phase: DocumentPhase;
  readOnly: boolean;
  /** Its text has arrived once, so there is something to show. */
  hasText: boolean;
  /** Our updates that the server has not stored yet. */
  unsaved: number;
  reason: string;
}

export interface OpenDocumentConfig {
  id: string;
  address: string;
  socket: HocuspocusProviderWebsocket;
  token: () => Promise<string>;
  user: PresenceUser;
  /** False when a denial came of a socket that is being replaced anyway. */
  denialCounts: (reason: string) => boolean;
  onChange: (id: string, state: DocumentState) => void;
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
    reason: "",
  };
  private readonly provider: HocuspocusProvider;

  constructor(private readonly config: OpenDocumentConfig) {
    this.id = config.id;
    this.text = this.doc.getText(CONTENT);
    this.provider = new HocuspocusProvider({
      name: config.address,
      document: this.doc,
      websocketProvider: config.socket,
      token: config.token,
      onAuthenticated: ({ scope }) => {
        this.set({ readOnly: scope !== "read-write", reason: "" });
        // A document the server had closed or denied is let in again by the same message.
        if (this.state.phase === "denied" || this.state.phase === "closed") {
          this.set({ phase: "loading" });
        }
      },
      onAuthenticationFailed: ({ reason }) => {
        if (config.denialCounts(reason)) this.set({ phase: "denied", reason });
      },
      onSynced: ({ state }) => {
        if (state && this.state.phase === "loading") this.set({ phase: "ready", hasText: true });
      },
      onUnsyncedChanges: ({ number }) => this.set({ unsaved: number }),
      onClose: ({ event }) => {
        // The socket's own end has a code of its own; 1000 stands for this document alone.
        if (event.code === 1000 && config.socket.status === "connected") {
          this.set({ phase: "closed", reason: event.reason ?? "" });
        }
      },
      onMessage: ({ event }) => {
        if (wasRefused(event.data) && !this.state.readOnly) {
          this.set({ phase: "refused" });
        }
      },
    });
    const awareness = this.provider.awareness;
    if (!awareness) throw new Error("a provider made without awareness: null has one");
    this.awareness = awareness;
    this.setUser(config.user);
    this.provider.attach();
  }

  /** Says who we are to the others in this document. */
  setUser(user: PresenceUser): void {
    this.awareness.setLocalState({ ...this.awareness.getLocalState(), user });
  }

  /** Asks to be let in again. */
  reattach(): void {
    this.set({ phase: "loading", reason: "" });
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

  destroy(): void {
    this.provider.destroy();
    this.doc.destroy();
  }

  private set(change: Partial<DocumentState>): void {
    this.state = { ...this.state, ...change };
    this.config.onChange(this.id, this.state);
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

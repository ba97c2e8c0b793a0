/** What the page shows of an open project. */

import type { Agent, DocumentEntry, Member, ProjectSummary, Turn } from "../core/protocol.ts";
import type { Aside } from "./asides.ts";
import type { DocumentState } from "./open-document.ts";
import type { Peer } from "./peers.ts";

export type Connection = "connecting" | "online" | "offline";

export interface SessionState {
  phase: "loading" | "ready" | "failed";
  /** Why `failed`, as a code. */
  failure: string;
  project: ProjectSummary | null;
  you: Member | null;
  members: ReadonlyMap<string, Member>;
  agents: ReadonlyMap<string, Agent>;
  documents: ReadonlyMap<string, DocumentEntry>;
  treeSynced: boolean;
  turns: readonly Turn[];
  turnsSynced: boolean;
  /** Goes up when something about hunks under review has arrived. */
  reviewVersion: number;
  /** The turn that is the newest thing this person did; `null` once they typed. */
  ownTurn: string | null;
  peers: readonly Peer[];
  connection: Connection;
  /** The server is there and has no room for us now. */
  crowded: boolean;
  /** Since when we have been offline, in milliseconds of the clock. */
  offlineSince: number | null;
  /** Updates that the server has not stored, over all open documents. */
  unsaved: number;
  /** Since when there has been anything unsaved. */
  unsavedSince: number | null;
  /** Everything unsaved is in this browser's storage too. */
  kept: boolean;
  /** Text of this page that the server did not take, newest last. */
  asides: readonly Aside[];
  open: ReadonlyMap<string, DocumentState>;
  current: string | null;
}

/** Before anything is known. */
export const INITIAL_STATE: SessionState = {
  phase: "loading",
  failure: "",
  project: null,
  you: null,
  members: new Map(),
  agents: new Map(),
  documents: new Map(),
  treeSynced: false,
  turns: [],
  turnsSynced: false,
  reviewVersion: 0,
  ownTurn: null,
  peers: [],
  connection: "connecting",
  crowded: false,
  offlineSince: null,
  unsaved: 0,
  unsavedSince: null,
  kept: false,
  asides: [],
  open: new Map(),
  current: null,
};

/** What is not saved over all open documents. */
export function countUnsaved(
  open: ReadonlyMap<string, DocumentState>,
  since: number | null,
): Pick<SessionState, "unsaved" | "unsavedSince" | "kept"> {
  let unsaved = 0;
  let kept = true;
  for (const each of open.values()) {
    // While a document loads, the one outstanding message is the handshake, not an edit.
    if (each.readOnly || each.phase === "loading" || each.unsaved === 0) continue;
    unsaved += each.unsaved;
    kept &&= each.kept;
  }
  return {
    unsaved,
    unsavedSince: unsaved === 0 ? null : (since ?? Date.now()),
    kept: kept && unsaved > 0,
  };
}

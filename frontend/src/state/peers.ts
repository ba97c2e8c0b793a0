/** Who is here, one entry per person however many tabs they have open. */

import { decodePresence } from "../core/decode.ts";

export interface Peer {
  id: string;
  name: string;
  color: string;
  kind: "person" | "agent";
  /** The document they have open. */
  document: string | null;
  status: "reading" | "writing" | null;
  /** This is the person at this page. */
  you: boolean;
}

/** Reads the presence of a project. */
export function readPeers(
  states: ReadonlyMap<number, unknown>,
  ownClient: number,
  ownId: string | null,
): Peer[] {
  const peers = new Map<string, Peer>();
  for (const [client, raw] of states) {
    const state = decodePresence(raw);
    if (!state) continue;
    const { id, name, color, kind } = state.user;
    const known = peers.get(id);
    // Of several tabs, the one that has a document open says more.
    if (known && (known.document !== null || state.document === null)) continue;
    peers.set(id, {
      id,
      name,
      color,
      kind,
      document: state.document,
      status: state.status,
      you: client === ownClient || id === ownId,
    });
  }
  return [...peers.values()].sort(
    (a, b) =>
      Number(b.you) - Number(a.you) || a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1),
  );
}

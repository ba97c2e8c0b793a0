/** Reads the tree replica: documents, members and agents of a project. */

import type * as Y from "yjs";
import { decodeAgent, decodeDocument, decodeMember } from "../core/decode.ts";
import type { Agent, DocumentEntry, Member } from "../core/protocol.ts";

/** What the tree holds; entries of a form this page does not know are left out. */
export function readTree(tree: Y.Doc): {
  documents: Map<string, DocumentEntry>;
  members: Map<string, Member>;
  agents: Map<string, Agent>;
} {
  const documents = new Map<string, DocumentEntry>();
  for (const [id, value] of tree.getMap("documents")) {
    const entry = decodeDocument(id, value);
    if (entry) documents.set(id, entry);
  }
  const members = new Map<string, Member>();
  for (const [id, value] of tree.getMap("members")) {
    const member = attempt(() => decodeMember(id, value));
    if (member) members.set(id, member);
  }
  const agents = new Map<string, Agent>();
  for (const [id, value] of tree.getMap("agents")) {
    const agent = attempt(() => decodeAgent(id, value));
    if (agent) agents.set(id, agent);
  }
  return { documents, members, agents };
}

function attempt<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch {
    return null;
  }
}

/**
 * What travels between the page and the server.
 * Bodies of the HTTP API are generated from the server's own types; the replicas and presence,
 * which travel as Yjs values, are written down here.
 */

import type {
  Hunk as HunkBody,
  HunkState,
  ProjectSummary,
  Review,
  Role,
  TurnError,
  TurnStatus,
} from "./protocol.gen.ts";
import type { UnitRange } from "./units.ts";

export type {
  Agent,
  CreatedInvite,
  ErrorCode,
  HunkState,
  Info as ServerInfo,
  Invite,
  Me,
  Member,
  Project as ProjectDetail,
  ProjectSummary,
  Role,
  SocketTicket,
  TurnError,
  TurnStatus,
} from "./protocol.gen.ts";

/** One entry of the tree replica. */
export interface DocumentEntry {
  id: string;
  path: string;
  kind: string;
  epoch: string;
  created_at: string;
}

/** One located piece of a turn's answer, as the turns replica has it. */
export interface Hunk extends Omit<HunkBody, "state"> {
  state: HunkState;
  /** RelativePosition JSON, checked only when it is resolved. */
  anchor: unknown;
  head: unknown;
}

export interface TurnUsage {
  input_tokens: number;
  output_tokens: number;
}

/** What people decided about a turn; `mixed` is different verdicts about its hunks. */
export type TurnReview = Review | "mixed";

/** One turn as the turns replica shows it. */
export interface Turn {
  id: string;
  status: TurnStatus;
  agent: string;
  prompt: string;
  by: string;
  documents: string[];
  created_at: string;
  finished_at: string | null;
  usage: TurnUsage | null;
  error: TurnError | null;
  answer: string;
  hunks: Hunk[];
  review: TurnReview;
  /** The agent's name where it is none of the project's agents: a program with a token. */
  agent_name: string | null;
}

/** The `user` field of a presence state. */
export interface PresenceUser {
  id: string;
  name: string;
  color: string;
  colorLight: string;
  kind: "person" | "agent";
}

/** One peer at one address. */
export interface PresenceState {
  user: PresenceUser;
  /** On `{project}`: the document this peer has open. */
  document: string | null;
  /** On `{project}/{document}`: RelativePosition JSON. */
  cursor: { anchor: unknown; head: unknown } | null;
  /** Agents only. */
  turn: string | null;
  status: "reading" | "writing" | null;
}

/** The root of a text document. */
export const CONTENT = "content";

/** What the page needs of the answer to a new project; the token is for programs. */
export interface CreatedProject {
  project: ProjectSummary;
  link: string;
}

/** What the page needs of the answer to joining. */
export interface Joined {
  project: ProjectSummary;
  role: Role;
}

/** Units that were deleted, and what they said. Their place is right behind the last of them. */
export interface DeletedUnits extends UnitRange {
  text: string;
}

/** What one hunk of a turn did, unit by unit. */
export interface HunkChanges {
  id: string;
  state: HunkState;
  inserted: UnitRange[];
  deleted: DeletedUnits[];
}

/** What a turn did. */
export interface TurnChanges {
  turn: string;
  documents: { document: string; path: string; hunks: HunkChanges[] }[];
}

/** A stretch of text of one writer, under one client id. */
export interface AttributedSpan extends UnitRange {
  by: "person" | "turn";
  member: string | null;
  turn: string | null;
}

/** Who wrote every character of a document. */
export interface Attribution {
  spans: AttributedSpan[];
  turns: ReadonlyMap<string, { agent: string; prompt: string; by: string; created_at: string }>;
  members: ReadonlyMap<string, { name: string; color: string }>;
}

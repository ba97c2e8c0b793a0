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
  DeletedUnits,
  ErrorCode,
  HunkChanges,
  HunkState,
  Info as ServerInfo,
  Invite,
  Me,
  Member,
  Project as ProjectDetail,
  ProjectSummary,
  Review as TurnReview,
  Role,
  SocketTicket,
  TurnChanges,
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
  review: Review;
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

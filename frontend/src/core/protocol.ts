/** What travels between the page and the server, in the names of the wire. */

export type Role = "owner" | "editor" | "viewer";

/** A project as the caller sees it in lists and after creating or joining it. */
export interface ProjectSummary {
  id: string;
  name: string;
  role: Role;
  created_at: string;
}

export interface Member {
  id: string;
  name: string;
  color: string;
  role: Role;
}

export interface Agent {
  id: string;
  name: string;
  color: string;
  model: string;
  demo: boolean;
}

/** `GET /projects/{project}`. */
export interface ProjectDetail extends ProjectSummary {
  members: Member[];
  agents: Agent[];
  you: Member;
}

/** `POST /projects`. */
export interface CreatedProject {
  project: ProjectSummary;
  link: string;
}

/** `POST /join`. */
export interface Joined {
  project: ProjectSummary;
  role: Role;
}

/** `POST /projects/{project}/invites`. */
export interface CreatedInvite {
  id: string;
  link: string;
  role: Role;
  expires_at: string | null;
}

/** `GET /projects/{project}/invites`. */
export interface Invite {
  id: string;
  role: Role;
  created_at: string;
  expires_at: string | null;
  max_uses: number | null;
  uses: number;
  revoked: boolean;
}

/** `GET /me`. */
export interface Me {
  id: string;
  name: string;
  color: string;
}

/** `GET /info`. */
export interface ServerInfo {
  version: string;
  access: "open" | "invite";
  model: { name: string; provider: string; demo: boolean };
  secure: boolean;
}

/** `POST /socket-tickets`. */
export interface SocketTicket {
  ticket: string;
  expires_at: string;
}

/** One entry of the tree replica. */
export interface DocumentEntry {
  id: string;
  path: string;
  kind: string;
  epoch: string;
  created_at: string;
}

export type TurnStatus = "queued" | "running" | "done" | "interrupted" | "failed";
export type TurnReview = "open" | "accepted" | "rejected";
export type HunkState = "applied" | "accepted" | "rejected" | "missed" | "reverted";

/** One located piece of a turn's answer. */
export interface Hunk {
  id: string;
  document: string;
  path: string;
  state: HunkState;
  /** RelativePosition JSON, checked only when it is resolved. */
  anchor: unknown;
  head: unknown;
  inserted: number;
  deleted: number;
  line: number | null;
  reason: string | null;
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
  error: { code: string; detail: string } | null;
  answer: string;
  hunks: Hunk[];
  review: TurnReview;
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

/** Data from outside is checked here, once, and is typed from here on. */

import type {
  Agent,
  Attribution,
  CreatedInvite,
  CreatedProject,
  DocumentEntry,
  Hunk,
  HunkState,
  Invite,
  Joined,
  Me,
  Member,
  PresenceState,
  ProjectDetail,
  ProjectSummary,
  Role,
  ServerInfo,
  SocketTicket,
  TurnChanges,
  TurnReview,
  TurnStatus,
  TurnUsage,
} from "./protocol.ts";

/** Thrown when an answer has not the form the contract promises. */
export class DecodeError extends Error {
  constructor(where: string, expected: string) {
    super(`${where} should be ${expected}`);
    this.name = "DecodeError";
  }
}

/** Reads one field of an object from outside. */
export type Fields = Record<string, unknown>;

/** An object, or a failure that names the place. */
export function fields(value: unknown, where: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new DecodeError(where, "an object");
  }
  return value as Fields;
}

/** A string field. */
export function text(from: Fields, key: string, where: string): string {
  const value = from[key];
  if (typeof value !== "string") throw new DecodeError(`${where}.${key}`, "a string");
  return value;
}

function optionalText(from: Fields, key: string): string | null {
  const value = from[key];
  return typeof value === "string" ? value : null;
}

function count(from: Fields, key: string): number {
  const value = from[key];
  return typeof value === "number" && Number.isFinite(value) ? Math.max(0, value) : 0;
}

function list<T>(value: unknown, where: string, item: (value: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new DecodeError(where, "a list");
  return value.map(item);
}

function oneOf<T extends string>(value: unknown, known: readonly T[], where: string): T {
  const found = known.find((entry) => entry === value);
  if (found === undefined) throw new DecodeError(where, known.join(" or "));
  return found;
}

const ROLES: readonly Role[] = ["owner", "editor", "viewer"];
const STATUSES: readonly TurnStatus[] = ["queued", "running", "done", "interrupted", "failed"];
const REVIEWS: readonly TurnReview[] = ["open", "accepted", "rejected", "mixed"];
const HUNK_STATES: readonly HunkState[] = ["applied", "accepted", "rejected", "missed", "reverted"];

/** The form of a color we hand to CSS; anything else becomes grey. */
const COLOR = /^#[0-9a-fA-F]{3,8}$|^(?:rgb|hsl|oklch|hwb|lab|lch)a?\([\d\s.,%/a-z+-]{1,60}\)$/;

/** A color that is safe to hand to CSS. */
export function color(value: unknown, fallback = "#6b7280"): string {
  return typeof value === "string" && COLOR.test(value) ? value : fallback;
}

/** A name as shown: no control or direction characters, at most 60 characters. */
export function displayName(value: unknown, fallback: string): string {
  if (typeof value !== "string") return fallback;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is removed.
  const clean = value.replace(/[\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
  return [...clean.trim()].slice(0, 60).join("") || fallback;
}

export function decodeProject(value: unknown): ProjectSummary {
  const from = fields(value, "project");
  return {
    id: text(from, "id", "project"),
    name: displayName(from.name, "Untitled"),
    role: oneOf(from.role, ROLES, "project.role"),
    created_at: optionalText(from, "created_at") ?? "",
  };
}

export function decodeProjects(value: unknown): ProjectSummary[] {
  return list(value, "projects", decodeProject);
}

export function decodeMember(id: string, value: unknown): Member {
  const from = fields(value, "member");
  return {
    id,
    name: displayName(from.name, "Guest"),
    color: color(from.color),
    role: oneOf(from.role, ROLES, "member.role"),
  };
}

export function decodeAgent(id: string, value: unknown): Agent {
  const from = fields(value, "agent");
  return {
    id,
    name: displayName(from.name, "Agent"),
    color: color(from.color, "#0d7d75"),
    model: optionalText(from, "model") ?? "",
    demo: from.demo === true,
  };
}

export function decodeProjectDetail(value: unknown): ProjectDetail {
  const from = fields(value, "project");
  const member = (entry: unknown) =>
    decodeMember(text(fields(entry, "member"), "id", "member"), entry);
  return {
    ...decodeProject(from),
    members: list(from.members, "project.members", member),
    agents: list(from.agents, "project.agents", (entry) =>
      decodeAgent(text(fields(entry, "agent"), "id", "agent"), entry),
    ),
    you: member(from.you),
  };
}

export function decodeCreatedProject(value: unknown): CreatedProject {
  const from = fields(value, "answer");
  return { project: decodeProject(from.project), link: text(from, "link", "answer") };
}

export function decodeJoined(value: unknown): Joined {
  const from = fields(value, "answer");
  return {
    project: decodeProject(from.project),
    role: oneOf(from.role, ROLES, "answer.role"),
  };
}

export function decodeCreatedInvite(value: unknown): CreatedInvite {
  const from = fields(value, "invite");
  return {
    id: text(from, "id", "invite"),
    link: text(from, "link", "invite"),
    secret: text(from, "secret", "invite"),
    role: oneOf(from.role, ROLES, "invite.role"),
    expires_at: optionalText(from, "expires_at"),
  };
}

export function decodeInvites(value: unknown): Invite[] {
  return list(value, "invites", (entry) => {
    const from = fields(entry, "invite");
    return {
      id: text(from, "id", "invite"),
      role: oneOf(from.role, ROLES, "invite.role"),
      created_at: optionalText(from, "created_at") ?? "",
      expires_at: optionalText(from, "expires_at"),
      max_uses: typeof from.max_uses === "number" ? from.max_uses : null,
      uses: count(from, "uses"),
      members: count(from, "members"),
      revoked: from.revoked === true,
    };
  });
}

export function decodeMe(value: unknown): Me {
  const from = fields(value, "me");
  return {
    id: text(from, "id", "me"),
    name: displayName(from.name, "Guest"),
    color: color(from.color),
  };
}

export function decodeInfo(value: unknown): ServerInfo {
  const from = fields(value, "info");
  const model = fields(from.model, "info.model");
  return {
    version: optionalText(from, "version") ?? "",
    access: from.access === "invite" ? "invite" : "open",
    model: {
      name: optionalText(model, "name") ?? "",
      provider: optionalText(model, "provider") ?? "",
      demo: model.demo === true,
    },
    secure: from.secure !== false,
  };
}

export function decodeTicket(value: unknown): SocketTicket {
  const from = fields(value, "ticket");
  return {
    ticket: text(from, "ticket", "ticket"),
    expires_at: optionalText(from, "expires_at") ?? "",
  };
}

/** An entry of the tree; `null` for one of a kind or form this page does not know. */
export function decodeDocument(id: string, value: unknown): DocumentEntry | null {
  try {
    const from = fields(value, "document");
    if (from.kind !== "text") return null;
    return {
      id,
      path: text(from, "path", "document"),
      kind: "text",
      epoch: String(from.epoch ?? ""),
      created_at: optionalText(from, "created_at") ?? "",
    };
  } catch {
    return null;
  }
}

/** A hunk; `null` for one whose form this page does not know. */
export function decodeHunk(id: string, value: unknown): Hunk | null {
  try {
    const from = fields(value, "hunk");
    return {
      id,
      document: optionalText(from, "document"),
      path: optionalText(from, "path") ?? "",
      state: oneOf(from.state, HUNK_STATES, "hunk.state"),
      anchor: from.anchor ?? null,
      head: from.head ?? null,
      inserted: count(from, "inserted"),
      deleted: count(from, "deleted"),
      line: typeof from.line === "number" ? from.line : null,
      reason: optionalText(from, "reason"),
    };
  } catch {
    return null;
  }
}

export function decodeTurnStatus(value: unknown): TurnStatus {
  return STATUSES.find((status) => status === value) ?? "failed";
}

export function decodeTurnReview(value: unknown): TurnReview {
  return REVIEWS.find((review) => review === value) ?? "open";
}

export function decodeUsage(value: unknown): TurnUsage | null {
  if (typeof value !== "object" || value === null) return null;
  const from = value as Fields;
  return { input_tokens: count(from, "input_tokens"), output_tokens: count(from, "output_tokens") };
}

export function decodeTurnError(value: unknown): { code: string; detail: string } | null {
  if (typeof value !== "object" || value === null) return null;
  const from = value as Fields;
  return {
    code: optionalText(from, "code") ?? "internal",
    detail: optionalText(from, "detail") ?? "",
  };
}

/** A peer's presence; `null` when it does not say who it is. */
export function decodePresence(value: unknown): PresenceState | null {
  if (typeof value !== "object" || value === null) return null;
  const from = value as Fields;
  if (typeof from.user !== "object" || from.user === null) return null;
  const user = from.user as Fields;
  const id = optionalText(user, "id");
  if (id === null) return null;
  const main = color(user.color);
  const cursor = from.cursor as Fields | null | undefined;
  return {
    user: {
      id,
      name: displayName(user.name, user.kind === "agent" ? "Agent" : "Guest"),
      color: main,
      colorLight: color(user.colorLight, /^#[0-9a-f]{6}$/i.test(main) ? `${main}33` : main),
      kind: user.kind === "agent" ? "agent" : "person",
    },
    document: optionalText(from, "document"),
    cursor:
      typeof cursor === "object" && cursor !== null && cursor.anchor && cursor.head
        ? { anchor: cursor.anchor, head: cursor.head }
        : null,
    turn: optionalText(from, "turn"),
    status: from.status === "reading" || from.status === "writing" ? from.status : null,
  };
}

/** A stretch of units. Yjs's client ids have up to 53 bits, so they are numbers here as there. */
function units(value: unknown): { client: number; clock: number; length: number } {
  const from = fields(value, "units");
  const whole = (key: string) => {
    const number = from[key];
    if (typeof number !== "number" || !Number.isSafeInteger(number) || number < 0) {
      throw new DecodeError(`units.${key}`, "a whole number");
    }
    return number;
  };
  return { client: whole("client"), clock: whole("clock"), length: whole("length") };
}

export function decodeTurnChanges(value: unknown): TurnChanges {
  const from = fields(value, "changes");
  return {
    turn: text(from, "turn", "changes"),
    documents: list(from.documents, "changes.documents", (entry) => {
      const document = fields(entry, "changes.document");
      return {
        document: text(document, "document", "changes.document"),
        path: text(document, "path", "changes.document"),
        hunks: list(document.hunks, "changes.hunks", (each) => {
          const hunk = fields(each, "changes.hunk");
          return {
            id: text(hunk, "id", "changes.hunk"),
            state: oneOf(hunk.state, HUNK_STATES, "changes.hunk.state"),
            inserted: list(hunk.inserted, "changes.inserted", units),
            deleted: list(hunk.deleted, "changes.deleted", (range) => ({
              ...units(range),
              text: text(fields(range, "changes.deleted"), "text", "changes.deleted"),
            })),
          };
        }),
      };
    }),
  };
}

export function decodeAttribution(value: unknown): Attribution {
  const from = fields(value, "attribution");
  const turns = new Map(
    Object.entries(fields(from.turns, "attribution.turns")).map(([id, entry]) => {
      const turn = fields(entry, "attribution.turn");
      return [
        id,
        {
          agent: optionalText(turn, "agent") ?? "",
          prompt: optionalText(turn, "prompt") ?? "",
          by: optionalText(turn, "by") ?? "",
          created_at: optionalText(turn, "created_at") ?? "",
        },
      ];
    }),
  );
  const members = new Map(
    Object.entries(fields(from.members, "attribution.members")).map(([id, entry]) => {
      const member = fields(entry, "attribution.member");
      return [id, { name: displayName(member.name, "Somebody"), color: color(member.color) }];
    }),
  );
  return {
    spans: list(from.spans, "attribution.spans", (entry) => {
      const span = fields(entry, "attribution.span");
      return {
        ...units(span),
        by: oneOf(span.by, ["person", "turn"] as const, "attribution.span.by"),
        member: optionalText(span, "member"),
        turn: optionalText(span, "turn"),
      };
    }),
    turns,
    members,
  };
}

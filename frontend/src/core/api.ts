/** The HTTP API, typed. Every answer is checked before it is used. */

import {
  DecodeError,
  decodeAttribution,
  decodeCreatedInvite,
  decodeCreatedProject,
  decodeInfo,
  decodeInvites,
  decodeJoined,
  decodeMe,
  decodeProjectDetail,
  decodeProjects,
  decodeTicket,
  decodeTurnChanges,
} from "./decode.ts";
import { RequestError } from "./errors.ts";
import type { Role } from "./protocol.ts";

/** How long an answer may take before we call the server unreachable. */
const TIMEOUT_MS = 20_000;

type Method = "GET" | "POST" | "PATCH" | "DELETE";

async function request(method: Method, path: string, body?: unknown): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      credentials: "same-origin",
      headers: {
        accept: "application/json",
        // A page of another origin cannot send this header without being allowed to.
        "x-ensemble": "1",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new RequestError("offline", "", 0);
  }
  if (response.status === 204) return null;
  let answer: unknown;
  try {
    answer = await response.json();
  } catch {
    // A proxy in between answers without JSON while the server is away.
    if (response.status >= 502 && response.status <= 504) {
      throw new RequestError("offline", "", response.status);
    }
    throw new RequestError("unreadable", "", response.status);
  }
  if (!response.ok) throw problem(answer, response.status, response.headers.get("retry-after"));
  return answer;
}

function problem(answer: unknown, status: number, retryAfter: string | null): RequestError {
  const from =
    typeof answer === "object" && answer !== null ? (answer as Record<string, unknown>) : {};
  const read = (key: string) => (typeof from[key] === "string" ? (from[key] as string) : "");
  return new RequestError(
    read("code") || "internal",
    read("detail") || read("title"),
    status,
    read("request_id") || null,
    // Seconds; a date, which the header may also hold, the server never sends.
    Math.max(0, Number(retryAfter) || 0) * 1000,
  );
}

async function decoded<T>(answer: Promise<unknown>, decode: (value: unknown) => T): Promise<T> {
  const value = await answer;
  try {
    return decode(value);
  } catch (error) {
    if (error instanceof DecodeError) throw new RequestError("unreadable", error.message, 200);
    throw error;
  }
}

const id = encodeURIComponent;

/** All calls the page makes. */
export const api = {
  info: () => decoded(request("GET", "/info"), decodeInfo),
  me: () => decoded(request("GET", "/me"), decodeMe),
  projects: () => decoded(request("GET", "/projects"), decodeProjects),
  createProject: (name: string, yourName: string) =>
    decoded(request("POST", "/projects", { name, your_name: yourName }), decodeCreatedProject),
  project: (project: string) =>
    decoded(request("GET", `/projects/${id(project)}`), decodeProjectDetail),
  join: (secret: string, name: string) =>
    decoded(request("POST", "/join", { secret, name }), decodeJoined),
  invites: (project: string) =>
    decoded(request("GET", `/projects/${id(project)}/invites`), decodeInvites),
  createInvite: (project: string, role: Role, expiresIn: number | null) =>
    decoded(
      request("POST", `/projects/${id(project)}/invites`, {
        role,
        ...(expiresIn === null ? {} : { expires_in: expiresIn }),
      }),
      decodeCreatedInvite,
    ),
  /** Revokes a link; `remove` takes those who came by it out of the project, too. */
  revokeInvite: async (project: string, invite: string, members: "keep" | "remove") => {
    const query = members === "remove" ? "?members=remove" : "";
    await request("DELETE", `/projects/${id(project)}/invites/${id(invite)}${query}`);
  },
  changes: (project: string, turn: string) =>
    decoded(
      request("GET", `/projects/${id(project)}/turns/${id(turn)}/changes`),
      decodeTurnChanges,
    ),
  attribution: (project: string, document: string) =>
    decoded(
      request("GET", `/projects/${id(project)}/documents/${id(document)}/attribution`),
      decodeAttribution,
    ),
  ticket: () => decoded(request("POST", "/socket-tickets", {}), decodeTicket),
};

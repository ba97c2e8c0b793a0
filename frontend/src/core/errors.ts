/** What went wrong, what to say about it, and what a person can do. */

import type { ErrorCode } from "./protocol.ts";

/** A refusal by the server, or the lack of an answer. */
export class RequestError extends Error {
  constructor(
    /** A stable code of the server, or `offline` and `unreadable`, which are ours. */
    readonly code: string,
    readonly detail: string,
    readonly status: number,
    readonly requestId: string | null = null,
    /** How long the server asks us to wait, in milliseconds; 0 when it does not say. */
    readonly retryAfterMs = 0,
  ) {
    super(detail || code);
    this.name = "RequestError";
  }
}

interface Explanation {
  title: string;
  action: string;
}

/** Every code of the server has an entry, and so have the two that only the page knows. */
const EXPLANATIONS: Record<ErrorCode | "offline" | "unreadable", Explanation> = {
  bad_request: {
    title: "The server did not understand the page",
    action: "Reload the page; it may be older than the server.",
  },
  agent_not_found: {
    title: "This agent is not in the project any more",
    action: "Reload the page.",
  },
  edit_not_found: {
    title: "An edit does not fit the text any more",
    action: "Read the text again.",
  },
  edit_ambiguous: {
    title: "An edit fits in several places",
    action: "Give more of the text around it.",
  },
  turn_running: { title: "This turn is still at work", action: "Stop it first." },
  malformed_update: {
    title: "The server refused a change",
    action: "Reload the page to get the saved text.",
  },
  malformed_frame: { title: "The server did not understand the page", action: "Reload the page." },
  method_not_allowed: {
    title: "The server did not understand the page",
    action: "Reload the page; it may be older than the server.",
  },
  unsupported_media_type: {
    title: "The server did not understand the page",
    action: "Reload the page; it may be older than the server.",
  },
  not_signed_in: {
    title: "You are not signed in here",
    action: "Open the invite link again, or ask somebody in the project for a new one.",
  },
  bad_ticket: {
    title: "The connection could not be opened",
    action: "Reload the page.",
  },
  no_access: {
    title: "You have no access to this project",
    action: "Ask its owner for an invite link.",
  },
  read_only: {
    title: "You can read this project but not change it",
    action: "Ask its owner for a link that can edit.",
  },
  foreign_origin: {
    title: "This address is not the server's own",
    action: "Open the address the server prints when it starts, or set its public URL.",
  },
  projects_closed: {
    title: "New projects need an invitation on this server",
    action: "Ask whoever runs it for a link.",
  },
  not_found: { title: "There is nothing at this address", action: "Check the link." },
  project_not_found: {
    title: "This project does not exist",
    action: "It may have been deleted. Check the link, or start a new project.",
  },
  document_not_found: {
    title: "This file does not exist any more",
    action: "Choose another one from the list of files.",
  },
  turn_not_found: { title: "This turn is too old to change", action: "" },
  invite_not_found: { title: "This link is already gone", action: "" },
  invite_invalid: {
    title: "This link no longer works",
    action: "It has expired, was used up or was revoked. Ask for a new one.",
  },
  path_taken: {
    title: "There is already a file with this name",
    action: "Choose another name.",
  },
  path_invalid: {
    title: "This name cannot be used for a file",
    action: "Use letters, digits and slashes, without empty parts or “..”.",
  },
  turn_not_running: { title: "This turn has already ended", action: "" },
  version_unknown: {
    title: "The text has moved on too far",
    action: "Select the text again and repeat the prompt.",
  },
  not_supported: { title: "The server cannot do this yet", action: "" },
  too_large: { title: "This is too large", action: "Try a smaller text." },
  rate_limited: { title: "Too many requests", action: "Wait a moment and try again." },
  busy: { title: "The server is busy", action: "Wait a moment and try again." },
  internal: {
    title: "The server had a problem",
    action: "Try again. If it stays, tell whoever runs it the number below.",
  },
  offline: {
    title: "The server cannot be reached",
    action: "Check your connection. Nothing you typed is lost while this page stays open.",
  },
  unreadable: {
    title: "The server gave an answer this page does not understand",
    action: "Reload the page; it may be older than the server.",
  },
};

/** What to show for an error: a title, what to do, and the request's number for a log. */
export interface Told {
  title: string;
  action: string;
  requestId: string | null;
}

/** The explanation of a code; an unknown one is told with the server's own words. */
export function explainCode(code: string, detail = ""): Told {
  if (Object.hasOwn(EXPLANATIONS, code)) {
    return { ...EXPLANATIONS[code as keyof typeof EXPLANATIONS], requestId: null };
  }
  return { title: detail || "This did not work", action: "Try again.", requestId: null };
}

/** The explanation of anything that was thrown. */
export function explain(error: unknown): Told {
  if (error instanceof RequestError) {
    const told = explainCode(error.code, error.detail);
    return { ...told, requestId: error.status >= 500 ? error.requestId : null };
  }
  return explainCode("unreadable");
}

/** The code of anything that was thrown. */
export function codeOf(error: unknown): string {
  return error instanceof RequestError ? error.code : "unreadable";
}

/** Is the same request worth making again later? */
export function isTransient(code: string): boolean {
  return code === "offline" || code === "busy" || code === "rate_limited" || code === "internal";
}

/** What a closed socket asks of the page. */
export type SocketVerdict = "retry" | "later" | "sign_in" | "no_access" | "gone" | "defect";

/** Reads a close code; everything that is not permanent is worth another try. */
export function socketVerdict(code: number): SocketVerdict {
  if (code === 4529 || code === 1013) return "later";
  if (code === 4401) return "sign_in";
  if (code === 4403) return "no_access";
  if (code === 4404) return "gone";
  if (code === 4400 || code === 4413) return "defect";
  return "retry";
}

/** What a server that will not serve a document now asks of the page. */
export type RefusalVerdict =
  /** It passes; come back a little later. */
  | "later"
  /** What this page holds is not taken, today or ever. */
  | "text"
  /** A person has to do something first. */
  | "final";

/** Reads the reason an address was denied or closed with. */
export function refusalVerdict(reason: string): RefusalVerdict {
  if (isTransient(reason)) return "later";
  if (reason === "malformed_update" || reason === "too_large") return "text";
  return "final";
}

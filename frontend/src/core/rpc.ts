/** JSON-RPC 2.0 over any channel of strings; ours is a provider's Stateless messages. */

import { RequestError } from "./errors.ts";

/** How long an answer may take. */
const TIMEOUT_MS = 20_000;

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: RequestError) => void;
  timer: ReturnType<typeof setTimeout>;
}

/** One caller's side of the channel. */
export class Rpc {
  private next = 1;
  private readonly waiting = new Map<number, Waiting>();

  constructor(private readonly send: (payload: string) => void) {}

  /** Calls a method; rejects with the server's code, or `offline` when no answer comes. */
  call(method: string, params: Record<string, unknown>): Promise<unknown> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new RequestError("offline", "", 0));
      }, TIMEOUT_MS);
      this.waiting.set(id, { resolve, reject, timer });
      this.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }

  /** Takes a message of the channel; what is not an answer to a call of ours is ignored. */
  receive(payload: string): void {
    let message: unknown;
    try {
      message = JSON.parse(payload);
    } catch {
      return;
    }
    if (typeof message !== "object" || message === null) return;
    const { id, result, error } = message as Record<string, unknown>;
    if (typeof id !== "number") return;
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    this.waiting.delete(id);
    clearTimeout(waiting.timer);
    if (error === undefined || error === null) waiting.resolve(result);
    else waiting.reject(toError(error));
  }

  /** Rejects everything that waits: its answers went with the socket. */
  disconnect(): void {
    for (const waiting of this.waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(new RequestError("offline", "", 0));
    }
    this.waiting.clear();
  }
}

function toError(error: unknown): RequestError {
  const from = (typeof error === "object" && error !== null ? error : {}) as Record<
    string,
    unknown
  >;
  const data = (typeof from.data === "object" && from.data !== null ? from.data : {}) as Record<
    string,
    unknown
  >;
  const read = (value: unknown) => (typeof value === "string" ? value : "");
  return new RequestError(
    read(data.code) || "internal",
    read(data.detail) || read(from.message),
    typeof data.status === "number" ? data.status : 500,
    read(data.request_id) || null,
  );
}

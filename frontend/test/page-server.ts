/**
 * A server in the page's own process, frame by frame in a test's hand: for what a page does between
 * two frames, which a real server and a real network leave to chance. Like the real one it keeps
 * what comes before somebody is let in, and answers it afterwards.
 */

import { createDecoder, readVarString, readVarUint, readVarUint8Array } from "lib0/decoding";
import {
  createEncoder,
  toUint8Array,
  writeVarInt,
  writeVarString,
  writeVarUint,
} from "lib0/encoding";
import { readSyncMessage, writeSyncStep1, writeUpdate } from "y-protocols/sync";
import * as Y from "yjs";

/** Types of Hocuspocus' frames. */
export const SYNC = 0;
export const AUTH = 2;
export const CLOSE = 7;
export const STATUS = 8;

const STEP_1 = 0;
const AUTH_DENIED = 1;
const AUTH_GIVEN = 2;

type Listener = (event: unknown) => void;

/** The page's end of a connection. */
class PageSocket {
  static readonly OPEN = 1;
  readyState = 0;
  binaryType = "";
  readonly letIn = new Set<string>();
  readonly early = new Map<string, Uint8Array[]>();
  private readonly listeners = new Map<string, Set<Listener>>();

  constructor(private readonly server: PageServer) {
    server.sockets.push(this);
    queueMicrotask(() => {
      if (!server.up) {
        this.end(1006);
        return;
      }
      this.readyState = PageSocket.OPEN;
      this.emit("open", {});
    });
  }

  addEventListener(name: string, listener: Listener): void {
    const known = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, known.add(listener));
  }

  removeEventListener(name: string, listener: Listener): void {
    this.listeners.get(name)?.delete(listener);
  }

  send(bytes: Uint8Array): void {
    if (this.readyState === PageSocket.OPEN) this.server.hear(this, bytes.slice());
  }

  close(): void {
    queueMicrotask(() => this.end(1005));
  }

  end(code: number): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.emit("close", { code, reason: "" });
  }

  emit(name: string, event: unknown): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(event);
  }
}

export class PageServer {
  readonly sockets: PageSocket[] = [];
  readonly heard: { address: string; type: number }[] = [];
  /** It can be reached. */
  up = true;
  /** Why an address is denied; `null` lets the page in. */
  denies: (address: string) => string | null = () => null;
  scope: "read-write" | "readonly" = "read-write";
  /** What it does not store it refuses. */
  stores: (address: string) => boolean = () => true;
  /** Frames to the page for which this is false wait for `release`. */
  passes: (address: string, type: number) => boolean = () => true;
  /** Tickets are given out when this is fulfilled. */
  ticket: () => Promise<unknown> = async () => {};
  /** What HTTP answers about the project: a status and a code. */
  refusal: { status: number; code: string } | null = null;
  private readonly docs = new Map<string, Y.Doc>();
  private waiting: (() => void)[] = [];

  /** The stand-in for the page's `WebSocket`. */
  readonly WebSocket: unknown = (() => {
    const server = this;
    return class extends PageSocket {
      constructor() {
        super(server);
      }
    };
  })();

  /** The stand-in for the page's `fetch`. */
  readonly fetch = async (path: string): Promise<Response> => {
    const json = (status: number, body: unknown) =>
      new Response(JSON.stringify(body), {
        status,
        headers: { "content-type": "application/json" },
      });
    if (!this.up) throw new TypeError("no network");
    if (path.endsWith("/socket-tickets")) await this.ticket();
    if (this.refusal) return json(this.refusal.status, { code: this.refusal.code });
    if (path.endsWith("/socket-tickets")) return json(200, { ticket: "ticket" });
    const ada = { id: "ada", name: "Ada", color: "#0000aa", role: "editor" };
    return json(200, {
      id: "p",
      name: "Project",
      role: "editor",
      created_at: "2026-01-01T00:00:00Z",
      members: [ada],
      agents: [],
      you: ada,
    });
  };

  /** A document as the server has it. */
  doc(address: string): Y.Doc {
    const known = this.docs.get(address) ?? new Y.Doc();
    this.docs.set(address, known);
    return known;
  }

  text(address: string): Y.Text {
    return this.doc(address).getText("content");
  }

  /** Changes a document, as somebody else does. */
  change(address: string, act: (doc: Y.Doc) => void): void {
    const doc = this.doc(address);
    const before = Y.encodeStateVector(doc);
    act(doc);
    this.tell(address, Y.encodeStateAsUpdate(doc, before));
  }

  /** Sends an update to everybody, whether it is stored or not. */
  tell(address: string, update: Uint8Array): void {
    for (const socket of this.sockets) {
      if (socket.letIn.has(address)) {
        this.say(socket, address, SYNC, (encoder) => writeUpdate(encoder, update));
      }
    }
  }

  /** Delivers the first of the frames that wait; all of them without a number. */
  release(count = this.waiting.length): void {
    for (const deliver of this.waiting.splice(0, count)) deliver();
  }

  get held(): number {
    return this.waiting.length;
  }

  /** Closes one address of the page. */
  close(address: string, reason: string): void {
    for (const socket of this.sockets) {
      if (!socket.letIn.delete(address)) continue;
      this.say(socket, address, CLOSE, (encoder) => writeVarString(encoder, reason));
    }
  }

  /** Goes away, as a server that is stopped does. */
  stop(): void {
    this.up = false;
    for (const socket of this.sockets) socket.end(1006);
  }

  hear(socket: PageSocket, bytes: Uint8Array): void {
    const decoder = createDecoder(bytes);
    const address = readVarString(decoder);
    const type = readVarUint(decoder);
    this.heard.push({ address, type });
    if (type === AUTH) this.letIn(socket, address);
    else if (type === CLOSE) {
      socket.letIn.delete(address);
      socket.early.delete(address);
    } else if (socket.letIn.has(address)) this.answer(socket, address, bytes);
    else socket.early.set(address, [...(socket.early.get(address) ?? []), bytes]);
  }

  private letIn(socket: PageSocket, address: string): void {
    const reason = this.denies(address);
    this.say(socket, address, AUTH, (encoder) => {
      writeVarUint(encoder, reason === null ? AUTH_GIVEN : AUTH_DENIED);
      writeVarString(encoder, reason ?? this.scope);
    });
    const early = socket.early.get(address) ?? [];
    socket.early.delete(address);
    if (reason !== null) return;
    socket.letIn.add(address);
    for (const bytes of early) this.answer(socket, address, bytes);
  }

  private answer(socket: PageSocket, address: string, bytes: Uint8Array): void {
    const decoder = createDecoder(bytes);
    readVarString(decoder);
    if (readVarUint(decoder) !== SYNC) return;
    const doc = this.doc(address);
    if (bytes[decoder.pos] === STEP_1) {
      this.say(
        socket,
        address,
        SYNC,
        (encoder) => void readSyncMessage(decoder, encoder, doc, this),
      );
      this.say(socket, address, SYNC, (encoder) => writeSyncStep1(encoder, doc));
      return;
    }
    const stored = this.stores(address) || !this.isNews(doc, bytes.subarray(decoder.pos));
    if (stored) readSyncMessage(decoder, createEncoder(), doc, this);
    this.say(socket, address, STATUS, (encoder) => writeVarInt(encoder, stored ? 1 : 0));
  }

  /** An update has units that a document lacks. */
  private isNews(doc: Y.Doc, message: Uint8Array): boolean {
    const decoder = createDecoder(message);
    readVarUint(decoder);
    const update = readVarUint8Array(decoder);
    return Y.decodeUpdate(Y.diffUpdate(update, Y.encodeStateVector(doc))).structs.length > 0;
  }

  private say(
    socket: PageSocket,
    address: string,
    type: number,
    write: (encoder: ReturnType<typeof createEncoder>) => void,
  ): void {
    const encoder = createEncoder();
    writeVarString(encoder, address);
    writeVarUint(encoder, type);
    write(encoder);
    const { buffer } = toUint8Array(encoder).slice();
    const deliver = () => {
      if (socket.readyState === PageSocket.OPEN) socket.emit("message", { data: buffer });
    };
    // What waits stays in order: nothing overtakes it.
    if (this.waiting.length === 0 && this.passes(address, type)) queueMicrotask(deliver);
    else this.waiting.push(deliver);
  }
}

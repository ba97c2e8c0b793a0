/** One document's connection to the real server, through a network that delays and breaks. */

import { createDecoder, readVarString, readVarUint, readVarUint8Array } from "lib0/decoding";
import {
  createEncoder,
  toUint8Array,
  writeVarString,
  writeVarUint,
  writeVarUint8Array,
} from "lib0/encoding";
import WebSocket from "ws";
import type { Random } from "./random.ts";

/** What the server said. */
export type Heard =
  | { type: "step 1" | "step 2" | "update"; bytes: Uint8Array }
  | { type: "authenticated" | "saved" | "other" }
  | { type: "refused"; reason: string };

export type Sync = "step 1" | "step 2" | "update";

const SYNC_TYPES: readonly Sync[] = ["step 1", "step 2", "update"];
const PING = 9;
const PONG = Uint8Array.of(10);

/** Frames that come out in the order they went in, each after a while. */
class Pipe {
  private readonly frames: { due: number; frame: Uint8Array }[] = [];
  private first = 0;
  private last = 0;

  get length(): number {
    return this.frames.length - this.first;
  }

  push(frame: Uint8Array, due: number): void {
    this.last = Math.max(this.last, due);
    this.frames.push({ due: this.last, frame });
  }

  take(now: number): Uint8Array | null {
    const next = this.frames[this.first];
    if (!next || next.due > now) return null;
    this.first += 1;
    if (this.first > 1000) {
      this.frames.splice(0, this.first);
      this.first = 0;
    }
    return next.frame;
  }

  /** From now on nothing waits. */
  hurry(): void {
    for (let at = this.first; at < this.frames.length; at++) {
      const each = this.frames[at];
      if (each) each.due = 0;
    }
    this.last = 0;
  }
}

/** What a link needs from its owner. */
export interface Listener {
  opened(): void;
  heard(what: Heard): void;
  /** The socket is gone; the code tells whether the server closed it. */
  closed(code: number): void;
}

/** A Hocuspocus socket for one address. Time is counted in ticks. */
export class Link {
  private socket: WebSocket | null = null;
  private outgoing = new Pipe();
  private incoming = new Pipe();
  private open = false;
  /** Ticks a frame takes, at the most. */
  delay = 0;
  now = 0;

  constructor(
    private readonly url: string,
    private readonly address: string,
    private readonly random: Random,
    private readonly listener: Listener,
  ) {}

  get isDown(): boolean {
    return this.socket === null;
  }

  get isOpen(): boolean {
    return this.open;
  }

  /** Whether frames wait inside the network. */
  get isQuiet(): boolean {
    return this.outgoing.length === 0 && this.incoming.length === 0;
  }

  connect(): void {
    const socket = new WebSocket(this.url, { perMessageDeflate: false });
    this.socket = socket;
    this.outgoing = new Pipe();
    this.incoming = new Pipe();
    const incoming = this.incoming;
    socket.binaryType = "nodebuffer";
    socket.on("open", () => {
      if (this.socket !== socket) return;
      this.open = true;
      this.listener.opened();
    });
    socket.on("message", (data: Buffer) => {
      if (this.socket === socket) incoming.push(data, this.now + this.latency());
    });
    // What happened is told with the close.
    socket.on("error", () => {});
    socket.on("close", (code) => {
      if (this.socket !== socket) return;
      // What came before the close is still heard.
      incoming.hurry();
      this.deliver();
      if (this.socket !== socket) return;
      this.socket = null;
      this.open = false;
      this.listener.closed(code);
    });
  }

  /** The connection breaks: what is on its way is lost. */
  drop(): void {
    const socket = this.socket;
    this.socket = null;
    this.open = false;
    socket?.terminate();
  }

  hurry(): void {
    this.delay = 0;
    this.outgoing.hurry();
    this.incoming.hurry();
  }

  authenticate(token: string): void {
    this.send(2, (encoder) => {
      writeVarUint(encoder, 0);
      writeVarString(encoder, token);
      writeVarString(encoder, "4.8.0");
    });
  }

  sync(what: Sync, bytes: Uint8Array): void {
    this.send(0, (encoder) => {
      writeVarUint(encoder, SYNC_TYPES.indexOf(what));
      writeVarUint8Array(encoder, bytes);
    });
  }

  presence(update: Uint8Array): void {
    this.send(1, (encoder) => writeVarUint8Array(encoder, update));
  }

  /** Time goes on: what is due leaves and arrives. */
  pump(now: number): void {
    this.now = now;
    if (this.open && this.socket && this.outgoing.length > 0) {
      let frame = this.outgoing.take(now);
      while (frame) {
        this.socket.send(frame);
        frame = this.outgoing.take(now);
      }
    }
    this.deliver();
  }

  /** Bytes the real network has not taken yet. */
  get unsent(): number {
    return this.socket?.bufferedAmount ?? 0;
  }

  private latency(): number {
    return this.delay === 0 ? 0 : this.random.below(this.delay + 1);
  }

  private send(type: number, write: (encoder: ReturnType<typeof createEncoder>) => void): void {
    const encoder = createEncoder();
    writeVarString(encoder, this.address);
    writeVarUint(encoder, type);
    write(encoder);
    this.outgoing.push(toUint8Array(encoder), this.now + this.latency());
  }

  private deliver(): void {
    const incoming = this.incoming;
    let frame = incoming.take(this.now);
    while (frame && this.incoming === incoming) {
      this.listener.heard(this.read(frame));
      frame = incoming.take(this.now);
    }
  }

  private read(frame: Uint8Array): Heard {
    if (frame.length === 1) {
      if (frame[0] === PING) this.outgoing.push(PONG, this.now);
      return { type: "other" };
    }
    const decoder = createDecoder(frame);
    readVarString(decoder);
    switch (readVarUint(decoder)) {
      case 0: {
        const type = SYNC_TYPES[readVarUint(decoder)];
        return type ? { type, bytes: readVarUint8Array(decoder) } : { type: "other" };
      }
      case 2: {
        const answer = readVarUint(decoder);
        if (answer === 2) return { type: "authenticated" };
        return {
          type: "refused",
          reason: `denied: ${answer === 1 ? readVarString(decoder) : answer}`,
        };
      }
      case 7:
        return { type: "refused", reason: `closed: ${readVarString(decoder)}` };
      case 8:
        if (readVarUint(decoder) === 1) return { type: "saved" };
        return { type: "refused", reason: "a sync status of 0" };
      default:
        return { type: "other" };
    }
  }
}

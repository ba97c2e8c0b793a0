/** Stands between a page and the server, and reads and changes the frames that pass. */

import type { Page, WebSocketRoute } from "playwright-core";

/** A frame of the server: its address, its type and what follows. */
export interface Frame {
  address: string;
  type: number;
  body: Buffer;
}

/** Types of the frames that are looked for here. */
export const AUTH = 2;
export const CLOSE = 7;
export const SYNC_STATUS = 8;

/** What becomes of a frame: another one, itself, or nothing. */
export type Change = (frame: Frame) => Frame | null;

/** The wire of one page. Without a change, frames pass as they are. */
export class Wire {
  change: Change = (frame) => frame;
  private socket: WebSocketRoute | null = null;

  static async of(page: Page): Promise<Wire> {
    const wire = new Wire();
    await page.routeWebSocket(/\/sync/, (socket) => {
      wire.socket = socket;
      const server = socket.connectToServer();
      server.onMessage((message) => {
        const bytes = Buffer.from(message as Buffer);
        const frame = read(bytes);
        const changed = frame && wire.change(frame);
        if (!frame) socket.send(bytes);
        else if (changed) socket.send(changed === frame ? bytes : write(changed));
      });
    });
    return wire;
  }

  /** Says something to the page in the server's name. */
  say(frame: Frame): void {
    this.socket?.send(write(frame));
  }
}

/** A string as the wire has it; shorter than 128 bytes. */
export function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function read(bytes: Buffer): Frame | null {
  const length = bytes[0] ?? 0;
  if (bytes.length < length + 2) return null;
  return {
    address: bytes.subarray(1, length + 1).toString(),
    type: bytes[length + 1] ?? 0,
    body: bytes.subarray(length + 2),
  };
}

function write({ address, type, body }: Frame): Buffer {
  return Buffer.concat([string(address), Buffer.from([type]), body]);
}

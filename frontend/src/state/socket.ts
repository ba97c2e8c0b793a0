import { HocuspocusProviderWebsocket, type onCloseParameters } from "@hocuspocus/provider";
import { createDecoder, readVarString, readVarUint } from "lib0/decoding";
import { Backoff } from "../core/backoff.ts";
import { socketVerdict } from "../core/errors.ts";

/** After a break people wait for the connection, and a whole class comes back at once. */
const FIRST_WAIT_MS = 2500;
const MOST_WAIT_MS = 8000;

/** No attempt follows a failed one sooner. The stock client refuses to wait less than this. */
const LEAST_WAIT_MS = 300;

/** What a server that has too much to do is given before we ask again. */
const BUSY_WAIT_MS = 5000;

/** Hocuspocus' numbers of the messages that open an address and close it. */
const AUTH = 2;
const CLOSE = 7;

/**
 * The project's socket. Unlike the stock one it keeps nothing to send later, and does not come back
 * at the same moment as everybody else.
 *
 * What a provider says while there is no connection is said again, whole, by the handshake of the
 * next one. Sent late in between, an old detach would end a document that was attached anew, and
 * the acknowledgements of old updates would count for newer ones that are not stored yet. The same
 * is true of what is said about an address while its ticket is fetched: the server would keep it,
 * and acknowledge what the handshake has brought already.
 */
export class ProjectSocket extends HocuspocusProviderWebsocket {
  private readonly backoff = new Backoff(FIRST_WAIT_MS, MOST_WAIT_MS);
  private atLeastMs = 0;
  /** The addresses that were asked for, on which connection. */
  private asked: { on: unknown; addresses: Set<string> } = { on: null, addresses: new Set() };

  override send(message: unknown): void {
    if (this.webSocket?.readyState !== WebSocket.OPEN) return;
    if (!(message instanceof Uint8Array) || this.mayPass(message)) super.send(message);
  }

  private mayPass(message: Uint8Array): boolean {
    // A frame of one byte is about the connection.
    if (message.length <= 1) return true;
    if (this.asked.on !== this.webSocket) this.asked = { on: this.webSocket, addresses: new Set() };
    const { addresses } = this.asked;
    const decoder = createDecoder(message);
    const address = readVarString(decoder);
    const type = readVarUint(decoder);
    if (type === CLOSE) return addresses.delete(address);
    if (type === AUTH) addresses.add(address);
    return addresses.has(address);
  }

  /** The stock client waits one second after every break, to the millisecond. */
  override onClose(parameters: onCloseParameters): void {
    const busy = socketVerdict(parameters.event.code) === "later" ? BUSY_WAIT_MS : 0;
    this.configuration.delay = this.backoff.next(Math.max(busy, this.atLeastMs));
    this.configuration.minDelay = LEAST_WAIT_MS;
    this.atLeastMs = 0;
    if (this.connectionAttempt) {
      // Closed before the first message: the stock client would go on with waits of its own.
      this.cancelWebsocketRetry?.();
      delete this.cancelWebsocketRetry;
    }
    super.onClose(parameters);
  }

  /** The next attempt is not made before this, as the server asked. */
  holdOff(milliseconds: number): void {
    this.atLeastMs = milliseconds;
  }

  /** The connection serves; the next break is a new one. */
  settled(): void {
    this.backoff.reset();
  }
}

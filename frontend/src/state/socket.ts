import { HocuspocusProviderWebsocket, type onCloseParameters } from "@hocuspocus/provider";
import { Backoff } from "../core/backoff.ts";
import { socketVerdict } from "../core/errors.ts";

/** After a break people wait for the connection, and a whole class comes back at once. */
const FIRST_WAIT_MS = 2500;
const MOST_WAIT_MS = 30_000;

/** No attempt follows a failed one sooner. The stock client refuses to wait less than this. */
const LEAST_WAIT_MS = 300;

/** What a server that has too much to do is given before we ask again. */
const BUSY_WAIT_MS = 5000;

/**
 * The project's socket. Unlike the stock one it keeps nothing to send later, and does not come back
 * at the same moment as everybody else.
 *
 * What a provider says while there is no connection is said again, whole, by the handshake of the
 * next one. Sent late in between, an old detach would end a document that was attached anew, and
 * the acknowledgements of old updates would count for newer ones that are not stored yet.
 */
export class ProjectSocket extends HocuspocusProviderWebsocket {
  private readonly backoff = new Backoff(FIRST_WAIT_MS, MOST_WAIT_MS);
  private atLeastMs = 0;

  override send(message: unknown): void {
    if (this.webSocket?.readyState === WebSocket.OPEN) super.send(message);
  }

  /** The stock client waits one second after every break, to the millisecond. */
  override onClose(parameters: onCloseParameters): void {
    const busy = socketVerdict(parameters.event.code) === "later" ? BUSY_WAIT_MS : 0;
    this.configuration.delay = this.backoff.next(Math.max(busy, this.atLeastMs));
    this.configuration.minDelay = LEAST_WAIT_MS;
    this.atLeastMs = 0;
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

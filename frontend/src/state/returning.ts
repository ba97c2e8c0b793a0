import { Backoff } from "../core/backoff.ts";
import type { ProjectSocket } from "./socket.ts";

/** Waits before asking again to be let in. */
const FIRST_WAIT_MS = 1500;
const MOST_WAIT_MS = 30_000;

/** Asks for an address again, a little later each time, while the server says that it is busy. */
export class Returning {
  private readonly backoff = new Backoff(FIRST_WAIT_MS, MOST_WAIT_MS);
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(
    private readonly socket: ProjectSocket,
    private readonly again: () => void,
  ) {}

  /** Asks after a while; what was to be asked before then is not. */
  later(): void {
    this.stop();
    this.timer = setTimeout(() => {
      this.timer = null;
      // A socket that is not there brings us back by itself when it is.
      if (this.socket.status === "connected") this.again();
    }, this.backoff.next());
  }

  stop(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
  }

  /** It worked; the next wait is short again. */
  reset(): void {
    this.backoff.reset();
  }
}

/** When to try again. */

/** Nobody comes back sooner than this share of what they may wait: it is what spreads a crowd. */
const SOONEST = 0.2;

/**
 * Waits that grow with every try, each drawn at random from the whole span up to its bound, so that
 * the pages of a class that lost the server at one moment do not all return at another.
 */
export class Backoff {
  private tries = 0;

  constructor(
    private readonly firstMs: number,
    private readonly mostMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** The next wait in milliseconds; `atLeastMs` is what the other side asked for. */
  next(atLeastMs = 0): number {
    const bound = Math.min(this.mostMs, this.firstMs * 2 ** this.tries);
    this.tries += 1;
    return atLeastMs + Math.round(bound * (SOONEST + (1 - SOONEST) * this.random()));
  }

  /** It worked; the next wait is short again. */
  reset(): void {
    this.tries = 0;
  }
}

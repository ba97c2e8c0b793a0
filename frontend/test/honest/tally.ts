/** What was sent and what came of it. */

import type { Kind } from "./peer.ts";

export class Tally {
  readonly kinds = new Map<Kind, number>();
  updates = 0;
  bytes = 0;
  largest = 0;
  refusals = 0;
  rounds = 0;
  /** Comparisons of a whole text, byte for byte. */
  textsEqual = 0;
  /** What happened to connections and tabs. */
  readonly events = new Map<string, number>();
  private readonly started = Date.now();

  sent(kind: Kind, bytes: number): void {
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
    this.updates += 1;
    this.bytes += bytes;
    this.largest = Math.max(this.largest, bytes);
  }

  happened(event: string): void {
    this.events.set(event, (this.events.get(event) ?? 0) + 1);
  }

  /** A table for a person. */
  table(): string {
    const seconds = (Date.now() - this.started) / 1000;
    const lines = [...this.kinds].sort(([, a], [, b]) => b - a);
    const row = (name: string, count: number | string) =>
      `  ${name.padEnd(28)}${String(count).padStart(12)}`;
    return [
      "honest updates by kind",
      ...lines.map(([kind, count]) => row(kind, count)),
      row("all", this.updates),
      "what happened meanwhile",
      ...[...this.events].sort(([, a], [, b]) => b - a).map(([event, count]) => row(event, count)),
      "what came of it",
      row("refused", this.refusals),
      row("rounds", this.rounds),
      row("texts compared, all equal", this.textsEqual),
      row("megabytes of updates", (this.bytes / 1e6).toFixed(1)),
      row("largest update, bytes", this.largest),
      row("seconds", seconds.toFixed(1)),
      row("updates per second", Math.round(this.updates / seconds)),
    ].join("\n");
  }
}

/**
 * The units of a text by their ids. Everything the server says about who wrote or deleted what
 * names units by client and clock, as Yjs does, since positions move with every keystroke.
 */

import * as Y from "yjs";

/** Neighbouring units of one client with consecutive clocks, all visible or all deleted. */
export interface UnitRun {
  readonly client: number;
  readonly clock: number;
  readonly length: number;
  /** Position of its first unit; of a deleted run, the position where it was. */
  readonly at: number;
  readonly deleted: boolean;
  /** Its text; empty when it is deleted. */
  readonly text: string;
  /** How many runs stand before it. */
  readonly order: number;
}

/** A stretch of units that a peer or the server names. */
export interface UnitRange {
  readonly client: number;
  readonly clock: number;
  readonly length: number;
}

/** Where units are in one state of a text. Made by one walk over the text; it follows no changes. */
export class UnitIndex {
  private readonly byClient = new Map<number, UnitRun[]>();

  private constructor(
    /** In the order of the document. */
    readonly runs: readonly UnitRun[],
    /** Visible units in all. */
    readonly length: number,
  ) {
    for (const run of runs) {
      const known = this.byClient.get(run.client);
      if (known) known.push(run);
      else this.byClient.set(run.client, [run]);
    }
    for (const list of this.byClient.values()) list.sort((a, b) => a.clock - b.clock);
  }

  static of(text: Y.Text): UnitIndex {
    const runs: UnitRun[] = [];
    let at = 0;
    for (let item = text._start; item; item = item.right) {
      // Formatting has no length; the server keeps it out, a stranger's copy need not.
      if (!item.countable) continue;
      const { client, clock } = item.id;
      const { deleted, length, content } = item;
      const string = !deleted && content instanceof Y.ContentString ? content.str : "";
      runs.push({ client, clock, length, at, deleted, text: string, order: runs.length });
      if (!deleted) at += length;
    }
    return new UnitIndex(runs, at);
  }

  /** The run that holds a unit; `null` when the text does not know it. */
  find(client: number, clock: number): UnitRun | null {
    const list = this.byClient.get(client);
    if (!list) return null;
    let low = 0;
    let high = list.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const run = list[middle];
      if (!run) return null;
      if (clock < run.clock) high = middle - 1;
      else if (clock >= run.clock + run.length) low = middle + 1;
      else return run;
    }
    return null;
  }

  /** The runs that hold a stretch, with the part of the stretch in each; what is unknown is left out. */
  *parts(range: UnitRange): Generator<{ run: UnitRun; clock: number; length: number }> {
    const end = range.clock + range.length;
    for (let clock = range.clock; clock < end; ) {
      const run = this.find(range.client, clock);
      if (!run) {
        clock += 1;
        continue;
      }
      const stop = Math.min(end, run.clock + run.length);
      yield { run, clock, length: stop - clock };
      clock = stop;
    }
  }

  /** The visible parts of a stretch, in the order of their clocks; touching ones are joined. */
  visible(range: UnitRange): { from: number; to: number }[] {
    const parts: { from: number; to: number }[] = [];
    for (const { run, clock, length } of this.parts(range)) {
      if (run.deleted) continue;
      const from = run.at + (clock - run.clock);
      const last = parts.at(-1);
      if (last?.to === from) last.to = from + length;
      else parts.push({ from, to: from + length });
    }
    return parts;
  }
}

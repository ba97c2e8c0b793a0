/** What turns did, fetched when there is something to judge. */

import { Backoff } from "../core/backoff.ts";
import { codeOf, isTransient } from "../core/errors.ts";
import type { HunkChanges, Turn, TurnChanges } from "../core/protocol.ts";
import { isLive } from "./turns.ts";

/** Turns under review in one document at a time; older ones follow when these are judged. */
const MAX_TURNS = 24;

const FIRST_WAIT_MS = 1000;
const MOST_WAIT_MS = 30_000;

/** A hunk that waits for a verdict, with what it did. */
export interface OpenHunk {
  turn: Turn;
  changes: HunkChanges;
}

interface Known {
  /** The states of the turn's hunks when it was asked for; a review moves text to new ids. */
  states: string;
  changes: TurnChanges | null;
}

/** The turns of a project under review. */
export class Reviews {
  private readonly known = new Map<string, Known>();
  private readonly backoff = new Backoff(FIRST_WAIT_MS, MOST_WAIT_MS);
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(
    private readonly load: (turn: string) => Promise<TurnChanges>,
    /** Something that was asked for has arrived. */
    private readonly onChange: () => void,
  ) {}

  /** The hunks of a document that wait for a verdict, as far as they are here; fetches the others. */
  open(document: string, turns: readonly Turn[]): OpenHunk[] {
    const hunks: OpenHunk[] = [];
    let left = MAX_TURNS;
    for (let index = turns.length - 1; index >= 0 && left > 0; index--) {
      const turn = turns[index];
      if (!turn || !isOpenIn(turn, document)) continue;
      left -= 1;
      const waiting = new Set(
        turn.hunks.filter((hunk) => hunk.state === "applied").map((hunk) => hunk.id),
      );
      // What is known of an earlier state is shown until the newer one is here.
      const changes = this.get(turn)?.documents.find((each) => each.document === document);
      for (const hunk of changes?.hunks ?? []) {
        if (waiting.has(hunk.id)) hunks.push({ turn, changes: hunk });
      }
    }
    return hunks;
  }

  destroy(): void {
    if (this.timer) clearTimeout(this.timer);
  }

  private get(turn: Turn): TurnChanges | null {
    const states = turn.hunks.map(({ id, state }) => `${id}:${state}`).join();
    const known = this.known.get(turn.id);
    if (known?.states !== states) {
      this.known.set(turn.id, { states, changes: known?.changes ?? null });
      void this.fetch(turn.id, states);
    }
    return known?.changes ?? null;
  }

  private async fetch(turn: string, states: string): Promise<void> {
    try {
      const changes = await this.load(turn);
      this.backoff.reset();
      if (this.known.get(turn)?.states !== states) return;
      this.known.set(turn, { states, changes });
      this.onChange();
    } catch (error) {
      // A turn that is gone, or a server that does not know this, will not answer later either.
      if (!isTransient(codeOf(error))) return;
      if (this.known.get(turn)?.states === states) this.known.delete(turn);
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.onChange();
      }, this.backoff.next());
    }
  }
}

/** Has a turn ended and left something in a document that nobody has judged? */
export function isOpenIn(turn: Turn, document: string): boolean {
  return (
    !isLive(turn) &&
    turn.hunks.some((hunk) => hunk.document === document && hunk.state === "applied")
  );
}

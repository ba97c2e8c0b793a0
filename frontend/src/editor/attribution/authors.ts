/** Who wrote which part of a text, from what the server says about units. */

import type { Attribution } from "../../core/protocol.ts";
import type { UnitIndex } from "../../core/units.ts";

/** Somebody who wrote something: a person, or an agent in one turn. */
export interface Author {
  /** The same for everything this author wrote. */
  readonly key: string;
  readonly kind: "person" | "agent";
  readonly name: string;
  readonly color: string;
  /** What an agent was asked, by whom, and when. */
  readonly turn: {
    readonly id: string;
    readonly prompt: string;
    readonly asker: string;
    readonly at: string;
  } | null;
}

/** A stretch of text by one author. */
export interface AuthoredRange {
  readonly from: number;
  readonly to: number;
  readonly author: Author;
}

/** Names and colors of those who are in the project, for what attribution leaves to the page. */
export interface Names {
  agent: (id: string) => { name: string; color: string } | null;
  /** Whose client id it is, of those who are here. */
  client: (client: number) => Author | null;
}

interface Span {
  readonly clock: number;
  readonly end: number;
  readonly author: Author;
}

/** What the server said about a document, for looking up units. */
export class Authors {
  private readonly byClient = new Map<number, Span[]>();

  constructor(attribution: Attribution, names: Names) {
    const made = new Map<string, Author>();
    const author = (key: string, make: () => Author): Author => {
      const known = made.get(key) ?? make();
      made.set(key, known);
      return known;
    };
    const { spans, turns, members } = attribution;
    for (const { client, clock, length, by, member, turn } of spans) {
      const turnOf = turn === null ? undefined : turns.get(turn);
      const who =
        by === "turn" && turn !== null && turnOf
          ? author(`turn ${turn}`, () => ({
              key: `turn ${turn}`,
              kind: "agent",
              name: names.agent(turnOf.agent)?.name ?? "An agent",
              color: names.agent(turnOf.agent)?.color ?? GREY,
              turn: {
                id: turn,
                prompt: turnOf.prompt,
                asker: members.get(turnOf.by)?.name ?? "somebody who left",
                at: turnOf.created_at,
              },
            }))
          : author(`member ${member}`, () => person(member, members));
      const list = this.byClient.get(client);
      const span = { clock, end: clock + length, author: who };
      if (list) list.push(span);
      else this.byClient.set(client, [span]);
    }
    for (const list of this.byClient.values()) list.sort((a, b) => a.clock - b.clock);
  }

  /** The author of a unit and the clock up to which that holds; `null` for one nobody told of. */
  find(client: number, clock: number): { author: Author | null; end: number } {
    const list = this.byClient.get(client);
    if (!list) return { author: null, end: Number.MAX_SAFE_INTEGER };
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((list[middle]?.end ?? 0) > clock) high = middle;
      else low = middle + 1;
    }
    const span = list[low];
    if (!span) return { author: null, end: Number.MAX_SAFE_INTEGER };
    return span.clock <= clock
      ? { author: span.author, end: span.end }
      : { author: null, end: span.clock };
  }
}

const GREY = "#6b7280";

function person(id: string | null, members: Attribution["members"]): Author {
  const member = id === null ? undefined : members.get(id);
  return {
    key: `member ${id}`,
    kind: "person",
    name: member?.name ?? (id === null ? "Text from before" : "Somebody who left"),
    color: member?.color ?? GREY,
    turn: null,
  };
}

/** The whole text by author; `unknown` says that somebody wrote what nobody has told of. */
export function authoredRanges(
  index: UnitIndex,
  authors: Authors,
  names: Names,
): { ranges: AuthoredRange[]; unknown: boolean } {
  const ranges: { from: number; to: number; author: Author }[] = [];
  let unknown = false;
  for (const run of index.runs) {
    if (run.deleted) continue;
    const end = run.clock + run.length;
    for (let clock = run.clock; clock < end; ) {
      const found = authors.find(run.client, clock);
      const stop = Math.min(end, found.end);
      const author = found.author ?? names.client(run.client);
      const from = run.at + (clock - run.clock);
      const to = run.at + (stop - run.clock);
      clock = stop;
      if (!author) {
        unknown = true;
        continue;
      }
      const last = ranges.at(-1);
      if (last?.to === from && last.author.key === author.key) last.to = to;
      else ranges.push({ from, to, author });
    }
  }
  return { ranges, unknown };
}

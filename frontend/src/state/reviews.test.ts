import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RequestError } from "../core/errors.ts";
import type { Hunk, HunkState, Turn, TurnChanges } from "../core/protocol.ts";
import { Reviews } from "./reviews.ts";

function turn(id: string, states: HunkState[], status: Turn["status"] = "done"): Turn {
  return {
    id,
    status,
    agent: "a",
    prompt: "p",
    by: "m",
    documents: ["d"],
    created_at: "",
    finished_at: null,
    usage: null,
    error: null,
    answer: "",
    review: "open",
    agent_name: null,
    hunks: states.map(
      (state, index): Hunk => ({
        id: `h${index}`,
        document: "d",
        path: "d.py",
        state,
        anchor: null,
        head: null,
        inserted: 1,
        deleted: 0,
        line: 1,
        reason: null,
      }),
    ),
  };
}

/** The server, as far as it is asked for changes here. */
class Server {
  asked: string[] = [];
  failure: RequestError | null = null;
  load = async (id: string): Promise<TurnChanges> => {
    this.asked.push(id);
    if (this.failure) throw this.failure;
    return {
      turn: id,
      documents: [
        {
          document: "d",
          path: "d.py",
          hunks: [0, 1, 2].map((index) => ({
            id: `h${index}`,
            state: "applied" as const,
            inserted: [{ client: 9, clock: this.asked.length * 100 + index, length: 1 }],
            deleted: [],
          })),
        },
      ],
    };
  };
}

describe("hunks that wait for a verdict", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  const setUp = () => {
    const server = new Server();
    const changed = vi.fn();
    return { server, changed, reviews: new Reviews(server.load, changed) };
  };
  const ids = (hunks: { changes: { id: string } }[]) => hunks.map(({ changes }) => changes.id);

  it("are fetched once, and are those the list of turns calls open", async () => {
    const { server, changed, reviews } = setUp();
    const turns = [turn("t1", ["applied", "accepted", "applied"])];
    expect(reviews.open("d", turns)).toEqual([]);
    await vi.advanceTimersByTimeAsync(0);
    expect(changed).toHaveBeenCalledTimes(1);
    expect(ids(reviews.open("d", turns))).toEqual(["h0", "h2"]);
    reviews.open("d", turns);
    expect(reviews.open("elsewhere", turns)).toEqual([]);
    expect(server.asked).toEqual(["t1"]);
  });

  it("leave at a verdict, and are fetched again since it may have moved text to new ids", async () => {
    const { server, reviews } = setUp();
    reviews.open("d", [turn("t1", ["applied", "applied", "applied"])]);
    await vi.advanceTimersByTimeAsync(0);
    const after = [turn("t1", ["applied", "rejected", "applied"])];
    expect(ids(reviews.open("d", after))).toEqual(["h0", "h2"]);
    await vi.advanceTimersByTimeAsync(0);
    expect(server.asked).toEqual(["t1", "t1"]);
    expect(reviews.open("d", after)[0]?.changes.inserted[0]?.clock).toBe(200);
  });

  it("are not those of a turn that is still at work, or that was judged", async () => {
    const { server, reviews } = setUp();
    reviews.open("d", [turn("t1", ["applied"], "running"), turn("t2", ["rejected"])]);
    expect(server.asked).toEqual([]);
  });

  it("are asked for again while the server cannot answer, and not when it never will", async () => {
    const { server, changed, reviews } = setUp();
    const turns = [turn("t1", ["applied"])];
    server.failure = new RequestError("offline", "", 0);
    reviews.open("d", turns);
    await vi.advanceTimersByTimeAsync(2000);
    expect(changed).toHaveBeenCalledTimes(1);
    server.failure = new RequestError("turn_not_found", "", 404);
    reviews.open("d", turns);
    await vi.advanceTimersByTimeAsync(60_000);
    reviews.open("d", turns);
    expect(server.asked.length).toBe(2);
  });
});

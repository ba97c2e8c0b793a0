import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ProjectSocket } from "./socket.ts";

/** A network in which no server answers. */
class NoServer extends EventTarget {
  static opened = 0;
  readyState = 0;
  binaryType = "";

  constructor() {
    super();
    NoServer.opened += 1;
  }

  close(): void {}
}

const PAGES = 200;

/** How many sockets are opened in each slice of the time after all pages lost theirs at once. */
async function returns(code: number, slice: number, slices: number): Promise<number[]> {
  const sockets = Array.from(
    { length: PAGES },
    () =>
      new ProjectSocket({ url: "ws://server", autoConnect: false, WebSocketPolyfill: NoServer }),
  );
  for (const socket of sockets) {
    socket.shouldConnect = true;
    socket.onClose({ event: { code, reason: "" } as CloseEvent });
  }
  const counts: number[] = [];
  for (let index = 0; index < slices; index++) {
    const before = NoServer.opened;
    await vi.advanceTimersByTimeAsync(slice);
    counts.push(NoServer.opened - before);
  }
  for (const socket of sockets) socket.destroy();
  return counts;
}

describe("after the server restarts", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    NoServer.opened = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("[S30] the pages of a class come back one after the other", async () => {
    const counts = await returns(1001, 250, 10);
    // Evenly, a quarter of a second would see 25 of 200; three times that would be a crowd.
    expect(Math.max(...counts)).toBeLessThan(75);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(PAGES);
  });

  it("a server that has too much to do is left alone for a while", async () => {
    const counts = await returns(4529, 1000, 8);
    expect(counts.slice(0, 5).every((count) => count === 0)).toBe(true);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(PAGES);
  });

  it("is left alone for as long as it asked for", async () => {
    const socket = new ProjectSocket({
      url: "ws://server",
      autoConnect: false,
      WebSocketPolyfill: NoServer,
    });
    void socket.connect();
    await vi.advanceTimersByTimeAsync(0);
    expect(NoServer.opened).toBe(1);
    // The ticket is refused before the server has said anything on the socket.
    await socket.onOpen(new Event("open"));
    socket.holdOff(10_000);
    socket.onClose({ event: { code: 1005, reason: "" } as CloseEvent });
    await vi.advanceTimersByTimeAsync(9999);
    expect(NoServer.opened).toBe(1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(NoServer.opened).toBe(2);
    socket.destroy();
  });
});

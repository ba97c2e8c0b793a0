import { describe, expect, it } from "vitest";
import { Backoff } from "./backoff.ts";

describe("waits", () => {
  it("grow to a bound and start again after success", () => {
    const backoff = new Backoff(1000, 8000, () => 1);
    expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([1000, 2000, 4000, 8000, 8000]);
    backoff.reset();
    expect(backoff.next()).toBe(1000);
  });

  it("are drawn from the whole span, after what the server asked for", () => {
    expect(new Backoff(1000, 8000, () => 0).next(5000)).toBe(5200);
    expect(new Backoff(1000, 8000, () => 1).next(5000)).toBe(6000);
  });
});

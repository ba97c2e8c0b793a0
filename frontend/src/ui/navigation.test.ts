import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { guardLeaving, navigate } from "./navigation.ts";

let stop = () => {};

beforeEach(() => navigate("/p/one"));
afterEach(() => stop());

describe("leaving a page", () => {
  it("waits for the answer where there is something to ask", () => {
    const asked: (() => void)[] = [];
    stop = guardLeaving((go) => {
      asked.push(go);
      return false;
    });
    navigate("/");
    expect(location.pathname).toBe("/p/one");
    asked[0]?.();
    expect(location.pathname).toBe("/");
    expect(asked).toHaveLength(1);
  });

  it("puts the address back when the browser went first", () => {
    let answer = () => {};
    stop = guardLeaving((go) => {
      answer = go;
      return false;
    });
    history.replaceState(null, "", "/");
    dispatchEvent(new Event("popstate"));
    expect(location.pathname).toBe("/p/one");
    answer();
    expect(location.pathname).toBe("/");
  });

  it("asks nothing inside the page, and nothing once nobody wants to be asked", () => {
    let asked = 0;
    stop = guardLeaving(() => {
      asked += 1;
      return false;
    });
    navigate("/p/one#document");
    expect([asked, location.hash]).toEqual([0, "#document"]);
    stop();
    navigate("/");
    expect([asked, location.pathname]).toEqual([0, "/"]);
  });
});

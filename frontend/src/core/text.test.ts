import { describe, expect, it } from "vitest";
import { smallestEdit, tidyText, wellFormed } from "./text.ts";

describe("text", () => {
  it.each([
    ["a\r\nb\rc\n", "a\nb\nc\n"],
    ["\ud800x", "\ufffdx"],
    ["x\udc00", "x\ufffd"],
    ["😀", "😀"],
  ])("tidies %j to %j", (before, after) => {
    expect(tidyText(before)).toBe(after);
  });

  it("replaces each lone half", () => {
    expect(wellFormed("\udc00\ud800\ud83d\ude00\ud800")).toBe("\ufffd\ufffd😀\ufffd");
  });

  it.each([
    ["abc", "abc", null],
    ["abc", "abxc", { from: 2, to: 2, insert: "x" }],
    ["aaa", "aa", { from: 2, to: 3, insert: "" }],
    ["", "x", { from: 0, to: 0, insert: "x" }],
    ["a😀b", "a😁b", { from: 1, to: 3, insert: "😁" }],
  ])("turns %j into %j", (before, after, edit) => {
    expect(smallestEdit(before, after)).toEqual(edit);
  });
});

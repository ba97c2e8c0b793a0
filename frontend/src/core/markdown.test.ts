import { describe, expect, it } from "vitest";
import { parseInline, parseMarkdown } from "./markdown.ts";

describe("the little Markdown of answers", () => {
  it("reads the blocks that models write", () => {
    const blocks = parseMarkdown(
      "# Done\n\nAll **well**.\n- one\n- two\n1. first\n```py\nx = 1\n```\n> so",
    );
    expect(blocks.map((block) => block.kind)).toEqual([
      "heading",
      "paragraph",
      "list",
      "list",
      "code",
      "quote",
    ]);
    expect(blocks[4]).toEqual({ kind: "code", language: "py", text: "x = 1" });
  });

  it("shows an unfinished fence as code while it streams", () => {
    expect(parseMarkdown("So:\n```\nlet a")).toEqual([
      { kind: "paragraph", inline: [{ kind: "text", text: "So:" }] },
      { kind: "code", language: "", text: "let a" },
    ]);
  });

  it("leaves links, images and HTML as the text they are", () => {
    const source = '![x](https://evil/?q=1) <img src=x onerror="alert(1)"> [a](javascript:b)';
    expect(parseInline(source)).toEqual([{ kind: "text", text: source }]);
  });

  it("does not take multiplication for emphasis", () => {
    expect(parseInline("a * b * c and snake_case_name")).toEqual([
      { kind: "text", text: "a * b * c and snake_case_name" },
    ]);
  });
});

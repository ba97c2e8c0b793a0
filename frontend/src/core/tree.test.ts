import { describe, expect, it } from "vitest";
import type { DocumentEntry } from "./protocol.ts";
import { buildTree, folderOf, type TreeNode, tidyPath, visibleRows } from "./tree.ts";

const entries = (...paths: string[]): DocumentEntry[] =>
  paths.map((path, index) => ({
    id: `d${index}`,
    path,
    kind: "text",
    epoch: "1",
    created_at: "",
  }));

const outline = (nodes: TreeNode[]): unknown[] =>
  nodes.map((node) => (node.kind === "folder" ? [node.name, outline(node.children)] : node.name));

describe("the tree of files", () => {
  it("puts folders first and orders names as people do", () => {
    const tree = buildTree(
      entries("zeta.md", "a10.py", "a9.py", "src/main.py", "src/lib/b.py", "B.md", "src/lib/a.py"),
    );
    expect(outline(tree)).toEqual([
      ["src", [["lib", ["a.py", "b.py"]], "main.py"]],
      "a9.py",
      "a10.py",
      "B.md",
      "zeta.md",
    ]);
  });

  it("keeps a file and a folder of the same path apart", () => {
    expect(outline(buildTree(entries("a", "a/b")))).toEqual([["a", ["b"]], "a"]);
  });

  it("leaves out what is in closed folders, and counts siblings for screen readers", () => {
    const rows = visibleRows(buildTree(entries("src/a.py", "src/b.py", "c.py")), new Set(["src"]));
    expect(
      rows.map(({ node, level, expanded, position, siblings }) => [
        node.path,
        level,
        expanded,
        position,
        siblings,
      ]),
    ).toEqual([
      ["src", 1, false, 1, 2],
      ["c.py", 1, false, 2, 2],
    ]);
  });

  it("reads paths as people type them", () => {
    expect(tidyPath("  /src/main.py ")).toBe("src/main.py");
    expect(folderOf("src/lib/a.py")).toBe("src/lib/");
    expect(folderOf("a.py")).toBe("");
  });
});

/** Folders and files, made from the flat list of paths the server keeps. */

import type { DocumentEntry } from "./protocol.ts";

export type TreeNode =
  | { kind: "folder"; path: string; name: string; children: TreeNode[] }
  | { kind: "file"; path: string; name: string; id: string };

const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Builds the tree: folders first, then files, each in natural order. */
export function buildTree(documents: Iterable<DocumentEntry>): TreeNode[] {
  const root: TreeNode[] = [];
  const folders = new Map<string, TreeNode[]>([["", root]]);

  const folder = (path: string): TreeNode[] => {
    const known = folders.get(path);
    if (known) return known;
    const cut = path.lastIndexOf("/");
    const children: TreeNode[] = [];
    folders.set(path, children);
    folder(cut < 0 ? "" : path.slice(0, cut)).push({
      kind: "folder",
      path,
      name: path.slice(cut + 1),
      children,
    });
    return children;
  };

  for (const { id, path } of documents) {
    const cut = path.lastIndexOf("/");
    folder(cut < 0 ? "" : path.slice(0, cut)).push({
      kind: "file",
      path,
      name: path.slice(cut + 1),
      id,
    });
  }
  for (const children of folders.values()) {
    children.sort(
      (a, b) =>
        (a.kind === b.kind ? 0 : a.kind === "folder" ? -1 : 1) ||
        order.compare(a.name, b.name) ||
        (a.path < b.path ? -1 : 1),
    );
  }
  return root;
}

/** One line of the tree as it is shown. */
export interface TreeRow {
  node: TreeNode;
  level: number;
  expanded: boolean;
  position: number;
  siblings: number;
}

/** The lines to show, with closed folders left out. */
export function visibleRows(tree: TreeNode[], closed: ReadonlySet<string>): TreeRow[] {
  const rows: TreeRow[] = [];
  const walk = (nodes: TreeNode[], level: number) => {
    nodes.forEach((node, index) => {
      const expanded = node.kind === "folder" && !closed.has(node.path);
      rows.push({ node, level, expanded, position: index + 1, siblings: nodes.length });
      if (node.kind === "folder" && expanded) walk(node.children, level + 1);
    });
  };
  walk(tree, 1);
  return rows;
}

/** The folder part of a path, with its slash; empty for the top. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/") + 1);
}

/** A path as typed by a person, without spaces around it and without leading slashes. */
export function tidyPath(path: string): string {
  return path.trim().replace(/^\/+/, "");
}

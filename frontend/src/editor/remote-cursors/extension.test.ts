import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, it } from "vitest";
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate } from "y-protocols/awareness";
import * as Y from "yjs";
import { bindingOf, collab, initialText } from "../collab/binding.ts";
import { undoOf } from "../collab/undo.ts";
import { movePeers, type PeerCursor, peerCursors, remoteCursors } from "./extension.ts";

const open: { destroy: () => void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.destroy();
});

function setup(content: string) {
  const doc = new Y.Doc();
  const text = doc.getText("content");
  text.insert(0, content);
  const awareness = new Awareness(doc);
  const view = new EditorView({
    parent: document.body,
    state: EditorState.create({
      doc: initialText(text),
      extensions: [collab({ text, undo: undoOf(text) }), remoteCursors(awareness)],
    }),
  });
  const other = new Y.Doc();
  Y.applyUpdate(other, Y.encodeStateAsUpdate(doc));
  const theirs = new Awareness(other);
  open.push(view, awareness, theirs);
  const tell = (cursor: { anchor: number; head: number } | null) => {
    const at = (index: number) =>
      Y.relativePositionToJSON(
        Y.createRelativePositionFromTypeIndex(other.getText("content"), index),
      );
    theirs.setLocalState({
      user: { id: "b", name: "Bob", color: "#123456", kind: "person" },
      cursor: cursor && { anchor: at(cursor.anchor), head: at(cursor.head) },
    });
    applyAwarenessUpdate(awareness, encodeAwarenessUpdate(theirs, [other.clientID]), null);
  };
  const place = (): [number, number] | null => {
    const peer = view.state.field(peerCursors).get(other.clientID);
    return peer ? [peer.anchor.at, peer.head.at] : null;
  };
  return { doc, view, other, awareness, tell, place };
}

describe("remote cursors", () => {
  it("are shown where the peer is, and go when the peer goes", async () => {
    const { tell, place } = setup("one two three");
    tell({ anchor: 4, head: 7 });
    await expect.poll(place).toEqual([4, 7]);
    tell(null);
    await expect.poll(place).toBeNull();
  });

  it("keep their place while others type before them", async () => {
    const { view, tell, place } = setup("one two three");
    tell({ anchor: 4, head: 7 });
    await expect.poll(place).toEqual([4, 7]);
    view.dispatch({ changes: { from: 0, insert: "zero " } });
    expect(place()).toEqual([9, 12]);
  });

  it("move along with what the peer writes without further presence", async () => {
    const { doc, view, other, tell, place } = setup("a\nb");
    tell({ anchor: 1, head: 1 });
    await expect.poll(place).toEqual([1, 1]);
    other.getText("content").insert(1, "typed");
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(other), "network");
    bindingOf(view)?.flush();
    expect(place()).toEqual([6, 6]);
  });

  it("wait for text that has not arrived", async () => {
    const { doc, view, other, tell, place } = setup("a");
    other.getText("content").insert(1, "later");
    tell({ anchor: 3, head: 3 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(place()).toBeNull();
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(other), "network");
    bindingOf(view)?.flush();
    await expect.poll(place).toEqual([3, 3]);
  });

  it("say nothing of presence that makes no sense", async () => {
    const { awareness, view, tell, place, other } = setup("abc");
    tell({ anchor: 1, head: 1 });
    await expect.poll(place).toEqual([1, 1]);
    awareness.states.set(other.clientID, { user: { id: "b" }, cursor: { anchor: 5, head: "x" } });
    awareness.emit("change", [{ added: [], updated: [other.clientID], removed: [] }, "local"]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(view.state.field(peerCursors).size).toBeLessThanOrEqual(1);
  });

  it("never lie outside the text", () => {
    const { view } = setup("abc");
    const peer: PeerCursor = {
      client: 5,
      name: "x",
      color: "#000",
      kind: "agent",
      status: null,
      anchor: { at: 90, side: 1 },
      head: { at: 99, side: 1 },
      named: true,
    };
    view.dispatch({ effects: movePeers.of({ at: [peer], gone: [] }) });
    expect(view.state.field(peerCursors).get(5)?.head.at).toBe(3);
  });
});

import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, it } from "vitest";
import { yCollab } from "y-codemirror.next";
import { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import { isLow } from "../../core/text.ts";
import { type Binding, bindingOf, collab, initialText, markedInsert } from "./binding.ts";
import { redoOwn, undoOf, undoOwn } from "./undo.ts";

const open: { destroy: () => void }[] = [];

afterEach(() => {
  for (const each of open.splice(0)) each.destroy();
});

function newDoc(client: number, content = ""): Y.Doc {
  const doc = new Y.Doc();
  doc.clientID = client;
  if (content) doc.getText("content").insert(0, content);
  open.push(doc);
  return doc;
}

function newView(doc: Y.Doc): EditorView {
  const text = doc.getText("content");
  const view = new EditorView({
    state: EditorState.create({
      doc: initialText(text),
      extensions: [collab({ text, undo: undoOf(text) })],
    }),
  });
  open.push(view);
  return view;
}

function binding(view: EditorView): Binding {
  const found = bindingOf(view);
  if (!found) throw new Error("the view has a binding");
  return found;
}

const content = (doc: Y.Doc) => doc.getText("content").toString();
const shown = (view: EditorView) => view.state.doc.toString();

/** Brings each of two documents what it lacks of the other. */
function sync(a: Y.Doc, b: Y.Doc): void {
  const forB = Y.encodeStateAsUpdate(a, Y.encodeStateVector(b));
  const forA = Y.encodeStateAsUpdate(b, Y.encodeStateVector(a));
  Y.applyUpdate(b, forB, "network");
  Y.applyUpdate(a, forA, "network");
}

/** A small seeded generator, so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const PIECES = ["a", "total", "\n", "  ", "wörld", "😀", "x\ny", "日本", "()", "\t", "\r\n"];

describe("the binding", () => {
  it("takes local edits to the text at once and remote ones in one transaction", () => {
    const doc = newDoc(1, "one two");
    const updates: string[] = [];
    const view = new EditorView({
      state: EditorState.create({
        doc: "one two",
        extensions: [
          collab({ text: doc.getText("content"), undo: undoOf(doc.getText("content")) }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) updates.push(update.state.doc.toString());
          }),
        ],
      }),
    });
    open.push(view);
    view.dispatch({ changes: { from: 3, insert: "," } });
    expect(content(doc)).toBe("one, two");
    updates.length = 0;

    const other = newDoc(2);
    sync(doc, other);
    for (const letter of "three ") {
      other.getText("content").insert(0, letter);
      sync(doc, other);
    }
    expect(updates).toEqual([]);
    binding(view).flush();
    expect(updates).toEqual([content(doc)]);
  });

  it("brings remote changes in by itself, in the next frame", async () => {
    const doc = newDoc(1, "a");
    const view = newView(doc);
    const other = newDoc(2);
    sync(doc, other);
    other.getText("content").insert(1, "b");
    sync(doc, other);
    await expect.poll(() => shown(view)).toBe("ab");
  });

  it("maps what is typed while remote changes wait", () => {
    const doc = newDoc(1, "hello world");
    const view = newView(doc);
    const other = newDoc(2);
    sync(doc, other);
    other.getText("content").insert(0, ">> ");
    sync(doc, other);
    view.dispatch({ changes: { from: 5, to: 11, insert: " there" } });
    expect(content(doc)).toBe(">> hello there");
    binding(view).flush();
    expect(shown(view)).toBe(">> hello there");
  });

  it("puts what is typed at a place before what came in there", () => {
    const doc = newDoc(1, "ab");
    const view = newView(doc);
    const other = newDoc(2);
    sync(doc, other);
    other.getText("content").insert(1, "REMOTE");
    sync(doc, other);
    view.dispatch({ changes: { from: 1, insert: "local" } });
    binding(view).flush();
    expect(shown(view)).toBe(content(doc));
    expect(content(doc)).toBe("alocalREMOTEb");
  });

  it("catches up with a text that changed before the view was made", () => {
    const doc = newDoc(1, "old");
    const text = doc.getText("content");
    const state = EditorState.create({
      doc: initialText(text),
      extensions: [collab({ text, undo: undoOf(text) })],
    });
    text.insert(3, "er");
    const view = new EditorView({ state });
    open.push(view);
    binding(view).flush();
    expect(shown(view)).toBe("older");
  });

  it("keeps only line feeds from what is typed or pasted", () => {
    const doc = newDoc(1);
    const view = newView(doc);
    view.dispatch(view.state.replaceSelection("one\r\ntwo\rthree\n"));
    expect(content(doc)).toBe("one\ntwo\nthree\n");
    expect(shown(view)).toBe(content(doc));
  });

  it("keeps lengths equal when a foreign client brings carriage returns", () => {
    const doc = newDoc(1, "x");
    const view = newView(doc);
    const other = newDoc(2);
    sync(doc, other);
    other.getText("content").insert(0, "a\r\nb\rc");
    sync(doc, other);
    binding(view).flush();
    expect(view.state.doc.length).toBe(doc.getText("content").length);
    view.dispatch({ changes: { from: view.state.doc.length, insert: "!" } });
    expect(content(doc)).toBe("a\r\nb\rcx!");
  });

  it("never tears a surrogate pair apart", () => {
    const doc = newDoc(1, "a😀b");
    const view = newView(doc);
    // What a smallest edit between two emoji comes to: only the second half differs.
    view.dispatch({ changes: { from: 2, to: 3, insert: "\ude01" } });
    expect(content(doc)).toBe("a😁b");
    expect(shown(view)).toBe("a😁b");
  });

  it("repairs the view when a foreign client tears a pair apart", () => {
    const doc = newDoc(1, "a😀b");
    const view = newView(doc);
    const other = newDoc(2);
    sync(doc, other);
    other.getText("content").delete(2, 1);
    sync(doc, other);
    binding(view).verify();
    expect(shown(view)).toBe(content(doc));
    expect(content(doc)).toBe("a\ufffdb");
  });

  it("sends a very large paste in several updates", () => {
    const doc = newDoc(1, "start end");
    const view = newView(doc);
    const sizes: number[] = [];
    doc.on("update", (update: Uint8Array) => sizes.push(update.length));
    view.dispatch({ changes: { from: 6, insert: "é\n".repeat(400_000) } });
    expect(shown(view)).toBe(content(doc));
    expect(content(doc)).toMatch(/^start é\n.*é\nend$/s);
    expect(Math.max(...sizes)).toBeLessThan(1024 * 1024);
  });

  it("lets nothing into a read-only editor but remote changes", () => {
    const doc = newDoc(1, "fixed");
    const text = doc.getText("content");
    const view = new EditorView({
      state: EditorState.create({
        doc: "fixed",
        extensions: [EditorState.readOnly.of(true), collab({ text, undo: undoOf(text) })],
      }),
    });
    open.push(view);
    view.dispatch({ changes: { from: 0, insert: "mine" } });
    expect(content(doc)).toBe("fixed");
    text.insert(5, "!");
    binding(view).flush();
    expect(shown(view)).toBe("fixed!");
  });

  it("reports marked insertions where they are after what was typed meanwhile", () => {
    const doc = newDoc(1, "abc");
    const text = doc.getText("content");
    const seen: { from: number; to: number }[] = [];
    const view = new EditorView({
      state: EditorState.create({
        doc: initialText(text),
        extensions: [
          collab({ text, undo: undoOf(text), marks: ({ origin }) => origin === "network" }),
          EditorView.updateListener.of((update) => {
            for (const transaction of update.transactions) {
              for (const effect of transaction.effects) {
                if (effect.is(markedInsert)) seen.push(...effect.value);
              }
            }
          }),
        ],
      }),
    });
    open.push(view);
    const other = newDoc(2);
    sync(doc, other);
    other.getText("content").insert(2, "XY");
    sync(doc, other);
    view.dispatch({ changes: { from: 0, insert: "__" } });
    expect(content(doc)).toBe("__abXYc");
    binding(view).flush();
    expect(shown(view)).toBe("__abXYc");
    expect(seen).toEqual([{ from: 4, to: 6 }]);
  });
});

describe("undo", () => {
  it("takes back only what was typed here", () => {
    const doc = newDoc(1, "base");
    const view = newView(doc);
    const other = newDoc(2);
    sync(doc, other);
    view.dispatch({ changes: { from: 4, insert: " mine" } });
    other.getText("content").insert(0, "theirs ");
    sync(doc, other);
    undoOwn(view);
    expect(shown(view)).toBe("theirs base");
    expect(content(doc)).toBe("theirs base");
    redoOwn(view);
    expect(shown(view)).toBe("theirs base mine");
  });

  it("keeps what another typed inside the text that is taken back", () => {
    const doc = newDoc(1, "");
    const view = newView(doc);
    const other = newDoc(2);
    view.dispatch({ changes: { from: 0, insert: "mine" } });
    sync(doc, other);
    other.getText("content").insert(2, "THEIRS");
    sync(doc, other);
    undoOwn(view);
    expect(content(doc)).toBe("THEIRS");
    expect(shown(view)).toBe("THEIRS");
  });

  it("returns to where the selection was", () => {
    const doc = newDoc(1, "one two three");
    const view = newView(doc);
    view.dispatch({ selection: { anchor: 4, head: 7 } });
    view.dispatch(view.state.replaceSelection("2"));
    view.dispatch({ selection: { anchor: 0 } });
    undoOwn(view);
    expect(shown(view)).toBe("one two three");
    expect(view.state.selection.main).toMatchObject({ anchor: 4, head: 7 });
  });

  it("is one history for all views of a document, and outlives them", () => {
    const doc = newDoc(1, "");
    const first = newView(doc);
    const second = newView(doc);
    first.dispatch({ changes: { from: 0, insert: "typed" } });
    binding(second).flush();
    expect(shown(second)).toBe("typed");
    first.destroy();
    undoOwn(second);
    expect(shown(second)).toBe("");
    expect(content(doc)).toBe("");
  });
});

describe("random edits on all sides", () => {
  /** No editor puts a cursor between the halves of a pair. */
  function wholePlace(text: string, at: number): number {
    return isLow(text.charCodeAt(at)) ? at - 1 : at;
  }

  /** One editor's random transaction: one to three changes at once. */
  function edit(view: EditorView, draw: (below: number) => number): void {
    const { length } = view.state.doc;
    const cuts = Array.from({ length: 2 * (1 + draw(3)) }, () =>
      wholePlace(shown(view), draw(length + 1)),
    ).sort((a, b) => a - b);
    const changes: { from: number; to: number; insert: string }[] = [];
    for (let at = 0; at + 1 < cuts.length; at += 2) {
      const from = cuts[at] ?? 0;
      const to = draw(3) === 0 ? (cuts[at + 1] ?? from) : from;
      changes.push({ from, to, insert: draw(4) === 0 ? "" : (PIECES[draw(PIECES.length)] ?? "") });
    }
    view.dispatch({ changes });
  }

  it.each(Array.from({ length: 60 }, (_, seed) => seed + 1))(
    "converge and equal the text, seed %i",
    (seed) => {
      const draw = random(seed);
      const docs = [newDoc(1, "def total():\n    return 1\n"), newDoc(2), newDoc(3)];
      const [first, second, third] = docs as [Y.Doc, Y.Doc, Y.Doc];
      sync(first, second);
      sync(second, third);
      const views = [newView(first), newView(first), newView(second)];
      const holder = [first, first, second];
      for (let step = 0; step < 150; step++) {
        const which = draw(views.length);
        const view = views[which] as EditorView;
        switch (draw(10)) {
          case 0:
          case 1:
          case 2:
            edit(view, draw);
            break;
          case 3: {
            // An agent without an editor, writing a word in pieces.
            const text = third.getText("content");
            const at = wholePlace(text.toString(), draw(text.length + 1));
            text.insert(at, PIECES[draw(PIECES.length - 1)] ?? "");
            break;
          }
          case 4:
            if (draw(2)) undoOwn(view);
            else redoOwn(view);
            break;
          case 5:
            binding(view).flush();
            expect(shown(view)).toBe(content(holder[which] as Y.Doc));
            break;
          default: {
            const a = docs[draw(3)] as Y.Doc;
            const b = docs[draw(3)] as Y.Doc;
            if (a !== b) sync(a, b);
          }
        }
      }
      sync(first, second);
      sync(second, third);
      sync(first, second);
      expect(content(first)).toBe(content(second));
      expect(content(second)).toBe(content(third));
      views.forEach((view, index) => {
        binding(view).verify();
        expect(shown(view)).toBe(content(holder[index] as Y.Doc));
      });
    },
  );

  it("come to the same text as with the binding of y-codemirror.next", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const universe = (
        make: (doc: Y.Doc) => EditorView,
        settle: (view: EditorView) => void,
      ): string => {
        const draw = random(seed);
        const doc = newDoc(7, "alpha\nbeta\n");
        const other = newDoc(9);
        sync(doc, other);
        const view = make(doc);
        open.push(view);
        for (let step = 0; step < 80; step++) {
          if (draw(2) === 0) {
            const at = draw(view.state.doc.length + 1);
            const to = Math.min(view.state.doc.length, at + draw(4));
            view.dispatch({ changes: { from: at, to, insert: "xyz".slice(draw(4)) } });
          } else {
            const text = other.getText("content");
            text.insert(draw(text.length + 1), "remote".slice(draw(6)));
          }
          if (draw(3) === 0) sync(doc, other);
          settle(view);
        }
        sync(doc, other);
        settle(view);
        expect(shown(view)).toBe(content(doc));
        return content(doc);
      };
      const ours = universe(
        (doc) => newView(doc),
        (view) => binding(view).flush(),
      );
      const theirs = universe(
        (doc) => {
          const text = doc.getText("content");
          return new EditorView({
            state: EditorState.create({
              doc: text.toString(),
              extensions: [yCollab(text, new Awareness(doc))],
            }),
          });
        },
        () => {},
      );
      expect(ours).toBe(theirs);
    }
  });
});

describe("undo that something else may be about", () => {
  it("[S33] asks first, and knows typing from taking back", () => {
    const doc = newDoc(1, "text");
    const text = doc.getText("content");
    let typed = 0;
    let other = false;
    const view = new EditorView({
      state: EditorState.create({
        doc: initialText(text),
        extensions: [
          collab({
            text,
            undo: undoOf(text),
            onTyped: () => {
              typed += 1;
            },
            beforeUndo: () => other,
          }),
        ],
      }),
    });
    open.push(view);
    view.dispatch({ changes: { from: 4, insert: "!" } });
    expect(typed).toBe(1);
    other = true;
    expect(undoOwn(view)).toBe(true);
    expect(shown(view)).toBe("text!");
    other = false;
    undoOwn(view);
    expect(shown(view)).toBe("text");
    redoOwn(view);
    expect(shown(view)).toBe("text!");
    expect(typed).toBe(1);
  });
});

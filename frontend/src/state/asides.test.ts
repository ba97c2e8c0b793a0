import { describe, expect, it } from "vitest";
import * as Y from "yjs";
import { type Aside, Asides, typedIn } from "./asides.ts";
import type { Kept, KeptCopy } from "./kept.ts";

/** The browser's storage, for as long as a test. */
class Memory {
  readonly copies = new Map<string, KeptCopy>();
  put = async (_kind: string, record: KeptCopy) => {
    this.copies.set(record.key, record);
    return true;
  };
  forget = async (_kind: string, key: string) => void this.copies.delete(key);
  of = async (_kind: string, address: string) =>
    [...this.copies.values()].filter((copy) => copy.address === address);
}

function setUp(memory = new Memory()) {
  let shown: readonly Aside[] = [];
  const asides = new Asides(memory as unknown as Kept, (now) => {
    shown = now;
  });
  return { asides, memory, shown: () => shown };
}

const content = (doc: Y.Doc) => doc.getText("content");
const ADDRESS = "p/d";
const about = { address: ADDRESS, path: "a.py", reason: "malformed_update" };

describe("text that was set aside", () => {
  it("[S31] is shown with what only it has, also to the next page, until it is dropped", async () => {
    const server = new Y.Doc();
    content(server).insert(0, "saved\n");
    const page = new Y.Doc();
    Y.applyUpdate(page, Y.encodeStateAsUpdate(server));
    content(page).insert(6, "mine\n");
    const { asides, memory, shown } = setUp();
    void asides.add("d", { ...about, form: "replica", bytes: Y.encodeStateAsUpdate(page) });
    expect(shown()).toEqual([]);
    await asides.settle("d", ADDRESS, content(server));
    expect(shown()).toMatchObject([{ path: "a.py", added: 5, removed: 0, placed: true }]);

    const next = setUp(memory);
    await next.asides.settle("d", ADDRESS, content(server));
    const [aside] = next.shown();
    expect(next.asides.compare(aside?.key ?? "", content(server))?.edits).toEqual([
      { from: 6, to: 6, insert: "mine\n" },
    ]);
    next.asides.drop(aside?.key ?? "");
    expect(next.shown()).toEqual([]);
    expect(memory.copies.size).toBe(0);
  });

  it("is forgotten when the server has it all after all", async () => {
    const page = new Y.Doc();
    content(page).insert(0, "everything");
    const { asides, memory, shown } = setUp();
    void asides.add("d", { ...about, form: "replica", bytes: Y.encodeStateAsUpdate(page) });
    await asides.settle("d", ADDRESS, content(page));
    expect(shown()).toEqual([]);
    expect(memory.copies.size).toBe(0);
  });

  it("cannot be put back where its history is another one", async () => {
    const [one, two] = [new Y.Doc(), new Y.Doc()];
    content(one).insert(0, "the same and mine");
    content(two).insert(0, "the same");
    const { asides, shown } = setUp();
    void asides.add("d", {
      ...about,
      reason: "epoch",
      form: "text",
      bytes: Y.encodeStateAsUpdate(one),
    });
    await asides.settle("d", ADDRESS, content(two));
    expect(shown()).toMatchObject([{ added: 9, removed: 0, placed: false }]);
  });

  it("stays until what was put back is stored, and where it never is", async () => {
    const [server, page] = [new Y.Doc(), new Y.Doc()];
    content(page).insert(0, "mine");
    const { asides, memory, shown } = setUp();
    await asides.add("d", { ...about, form: "replica", bytes: Y.encodeStateAsUpdate(page) });
    await asides.settle("d", ADDRESS, content(server));
    asides.documentStored("d");
    const key = shown()[0]?.key ?? "";
    asides.returned(key);
    expect(shown()).toMatchObject([{ returning: true }]);
    expect(memory.copies.size).toBe(1);
    // The replica that took it goes before that was stored.
    asides.documentLost("d");
    asides.documentStored("d");
    expect(shown()).toMatchObject([{ returning: false }]);
    asides.returned(key);
    asides.documentStored("another");
    expect(memory.copies.size).toBe(1);
    asides.documentStored("d");
    expect(shown()).toEqual([]);
    expect(memory.copies.size).toBe(0);
  });

  it("says so when the browser could not store it", async () => {
    const memory = new Memory();
    memory.put = async () => false;
    const page = new Y.Doc();
    content(page).insert(0, "mine");
    const { asides, shown } = setUp(memory);
    const copy = { ...about, form: "replica", bytes: Y.encodeStateAsUpdate(page) } as const;
    expect(await asides.add("d", copy)).toBe(false);
    await asides.settle("d", ADDRESS, content(new Y.Doc()));
    expect(shown()).toMatchObject([{ added: 4, onlyHere: true }]);
    expect(asides.areOnlyHere).toBe(true);
    asides.drop(shown()[0]?.key ?? "");
    expect(asides.areOnlyHere).toBe(false);
  });

  it("keeps a bounded number of copies", async () => {
    const { asides, memory } = setUp();
    for (let index = 0; index < 12; index++) {
      const doc = new Y.Doc();
      content(doc).insert(0, `copy ${index}`);
      void asides.add("d", { ...about, form: "replica", bytes: Y.encodeStateAsUpdate(doc) });
    }
    await Promise.resolve();
    expect(memory.copies.size).toBe(8);
  });
});

describe("edits that were kept without the text around them", () => {
  const base = new Y.Doc();
  content(base).insert(0, "known text");
  const before = Y.encodeStateVector(base);
  const page = new Y.Doc();
  Y.applyUpdate(page, Y.encodeStateAsUpdate(base));
  content(page).insert(5, "NEW");
  const edits = Y.encodeStateAsUpdate(page, before);

  it("get their places back in the document they were made in", () => {
    const made = typedIn(edits, base);
    const doc = new Y.Doc();
    Y.applyUpdate(doc, made?.bytes ?? new Uint8Array());
    expect(made?.form).toBe("replica");
    expect(content(doc).toString()).toBe("knownNEW text");
  });

  it("are what was typed where that is not here, and nothing where nothing was", () => {
    const made = typedIn(edits, new Y.Doc());
    const doc = new Y.Doc();
    Y.applyUpdate(doc, made?.bytes ?? new Uint8Array());
    expect(made?.form).toBe("typed");
    expect(content(doc).toString()).toBe("NEW");
    expect(typedIn(new Uint8Array([0, 0]), null)).toBeNull();
    expect(typedIn(new Uint8Array([9, 9, 9]), null)).toBeNull();
  });
});

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as Y from "yjs";
import { AUTH, PageServer } from "../../test/page-server.ts";
import { Kept } from "./kept.ts";
import type { OpenDocument } from "./open-document.ts";
import { ProjectSession } from "./session.ts";

const DOCUMENT = "p/d";

let server: PageServer;
let session: ProjectSession;

beforeEach(() => {
  vi.useFakeTimers();
  server = new PageServer();
  server.doc("p").getMap("documents").set("d", {
    path: "poem.txt",
    kind: "text",
    epoch: "1",
    created_at: "2026-01-01T00:00:00Z",
  });
  server.text(DOCUMENT).insert(0, "roses");
  vi.stubGlobal("WebSocket", server.WebSocket);
  vi.stubGlobal("fetch", server.fetch);
});
afterEach(() => {
  session.destroy();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const pass = (milliseconds = 0) => vi.advanceTimersByTimeAsync(milliseconds);

/** A page with the document open. */
async function open(): Promise<OpenDocument> {
  session = new ProjectSession("p");
  await pass(50);
  const document = session.document("d");
  if (!document?.state.hasText) throw new Error("the document has not opened");
  return document;
}

const state = () => session.store.getState();
const type = (document: OpenDocument, words: string) => {
  for (const letter of words) document.text.insert(document.text.length, letter);
};

describe("saved", () => {
  it("[S50] is not said for what was typed while a ticket was fetched and after", async () => {
    const document = await open();
    server.stop();
    await pass();
    let give = () => {};
    server.ticket = () =>
      new Promise<void>((resolve) => {
        give = resolve;
      });
    server.up = true;
    await pass(10_000);
    type(document, "12345");
    await pass();
    server.passes = () => false;
    give();
    await pass();
    server.release();
    // The page's answer to the server's question holds all five.
    await pass();
    type(document, "678");
    await pass();
    expect(server.text(DOCUMENT).toString()).toBe("roses12345678");
    // The acknowledgements of the last three do not arrive.
    server.release(server.held - 3);
    await pass();
    expect(state().unsaved).toBe(3);
    server.release();
    await pass();
    expect(state().unsaved).toBe(0);
  });
});

describe("what only this page has", () => {
  it("[S51] is asked about before it goes, until it is stored by the server or the browser", async () => {
    const document = await open();
    expect(session.unsent.isOnlyHere).toBe(false);
    server.stop();
    type(document, " are red");
    await pass(1000);
    expect(session.unsent.isOnlyHere).toBe(true);
    // This browser has no storage.
    expect(await session.unsent.keepAll()).toBe(false);
    const question = new Event("beforeunload", { cancelable: true });
    dispatchEvent(question);
    expect(question.defaultPrevented).toBe(true);
    expect(session.unsent.texts()).toMatchObject([{ path: "poem.txt", text: "roses are red" }]);

    const put = vi.spyOn(Kept.prototype, "put").mockResolvedValue(true);
    expect(await session.unsent.keepAll()).toBe(true);
    expect(put).toHaveBeenCalledWith("edits", expect.objectContaining({ address: DOCUMENT }));
    expect(session.unsent.texts()).toHaveLength(1);

    server.up = true;
    await pass(20_000);
    expect(server.text(DOCUMENT).toString()).toBe("roses are red");
    expect(session.unsent.texts()).toEqual([]);
  });

  it("is written to the browser's storage when the project is left", async () => {
    const document = await open();
    const put = vi.spyOn(Kept.prototype, "put").mockResolvedValue(true);
    server.stop();
    type(document, "!");
    session.destroy();
    const [, record] = put.mock.calls.at(-1) ?? [];
    const kept = new Y.Doc();
    Y.applyUpdate(kept, Y.encodeStateAsUpdate(server.doc(DOCUMENT)));
    Y.applyUpdate(kept, record?.bytes ?? new Uint8Array());
    expect(kept.getText("content").toString()).toBe("roses!");
  });

  it("stays where a refused text cannot be set aside in the browser's storage", async () => {
    const put = vi
      .spyOn(Kept.prototype, "put")
      .mockImplementation(async (kind: string) => kind === "edits");
    const forget = vi.spyOn(Kept.prototype, "forget").mockResolvedValue();
    const document = await open();
    server.stores = () => false;
    type(document, " are red");
    await pass(1000);
    expect(put).toHaveBeenCalledWith("edits", expect.anything());
    await pass(5000);
    expect(session.document("d")).not.toBe(document);
    expect(state().asides).toMatchObject([{ added: 8, onlyHere: true }]);
    expect(session.unsent.isOnlyHere).toBe(true);
    expect(forget).not.toHaveBeenCalled();
  });

  it("is forgotten as edits once the copy is stored", async () => {
    vi.spyOn(Kept.prototype, "put").mockResolvedValue(true);
    const forget = vi.spyOn(Kept.prototype, "forget").mockResolvedValue();
    const document = await open();
    server.stores = () => false;
    type(document, " are red");
    await pass(6000);
    expect(state().asides).toMatchObject([{ added: 8, onlyHere: false }]);
    expect(forget).toHaveBeenCalledWith("edits", expect.anything());
    expect(session.unsent.isOnlyHere).toBe(false);
  });
});

describe("a text that the server refuses", () => {
  it("is nobody's to set aside where nobody typed", async () => {
    const document = await open();
    const author = new Y.Doc();
    Y.applyUpdate(author, Y.encodeStateAsUpdate(server.doc(DOCUMENT)));
    author.getText("content").insert(5, " are red");
    server.tell(DOCUMENT, Y.encodeStateAsUpdate(author));
    await pass();
    expect(document.text.toString()).toBe("roses are red");
    server.stores = () => false;
    server.stop();
    server.up = true;
    await pass(20_000);
    expect(session.document("d")?.text.toString()).toBe("roses");
    expect(state().asides).toEqual([]);
  });

  it("is not shown as set aside any more when others have it", async () => {
    const document = await open();
    server.stores = () => false;
    type(document, " are red");
    const copy = document.copy();
    await pass(6000);
    expect(state().asides).toHaveLength(1);
    server.change(DOCUMENT, (doc) => Y.applyUpdate(doc, copy));
    await pass(2000);
    expect(state().asides).toEqual([]);
  });
});

describe("a server with too much to do", () => {
  it.each(["p/turns", "p"])("is asked for %s again", async (address) => {
    const denied = new Set<string>();
    server.denies = (asked) => {
      if (asked !== address || denied.has(asked)) return null;
      denied.add(asked);
      return "rate_limited";
    };
    session = new ProjectSession("p");
    await pass(40_000);
    expect(denied.size).toBe(1);
    expect([state().treeSynced, state().turnsSynced]).toEqual([true, true]);
  });

  it.each(["p/turns", "p"])("comes back to %s after it was closed", async (address) => {
    await open();
    const asks = () =>
      server.heard.filter((each) => each.address === address && each.type === AUTH);
    const before = asks().length;
    server.close(address, "rate_limited");
    await pass(5000);
    expect(asks().length).toBeGreaterThan(before);
    expect(state().phase).toBe("ready");
  });

  it("gives out no ticket, which is no reason to give up", async () => {
    const document = await open();
    server.refusal = { status: 500, code: "internal" };
    server.stop();
    server.up = true;
    type(document, "!");
    await pass(60_000);
    expect(state()).toMatchObject({ phase: "ready", connection: "offline", crowded: false });
    server.refusal = null;
    await pass(60_000);
    expect(server.text(DOCUMENT).toString()).toBe("roses!");
  });
});

describe("when access ends", () => {
  it("[S52] what was typed can be saved by hand, and asked for again", async () => {
    const document = await open();
    server.stop();
    type(document, "!");
    server.refusal = { status: 403, code: "no_access" };
    server.up = true;
    await pass(20_000);
    expect(state()).toMatchObject({ phase: "failed", failure: "no_access" });
    expect(session.unsent.texts()).toMatchObject([{ path: "poem.txt", text: "roses!" }]);
    server.refusal = null;
    session.askAgain();
    await pass(20_000);
    expect(state()).toMatchObject({ phase: "ready", connection: "online", unsaved: 0 });
    expect(server.text(DOCUMENT).toString()).toBe("roses!");
  });
});

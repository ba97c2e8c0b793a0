/** An unmodified `y-websocket` against the real server. */

import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { type TestProject, TestServer, until } from "./server.ts";

let server: TestServer;
let project: TestProject;
let closing: (() => void)[] = [];

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server?.close());
beforeEach(async () => {
  project = await server.project();
});
afterEach(() => {
  for (const close of closing.reverse()) close();
  closing = [];
});

function connect(document: string, token = project.owner): WebsocketProvider {
  const provider = new WebsocketProvider(
    `${server.socketUrl}/sync/${project.id}`,
    document,
    new Y.Doc(),
    {
      params: { token },
      WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
      disableBc: true,
    },
  );
  closing.push(() => provider.destroy());
  return provider;
}

/** A client of the other protocol. */
function multiplexed(document: string, token = project.owner): HocuspocusProvider {
  const websocketProvider = new HocuspocusProviderWebsocket({
    url: `${server.socketUrl}/sync`,
    WebSocketPolyfill: WebSocket,
  });
  const name = `${project.id}/${document}`;
  const provider = new HocuspocusProvider({ name, websocketProvider, token });
  closing.push(
    () => websocketProvider.destroy(),
    () => provider.destroy(),
  );
  provider.attach();
  return provider;
}

const text = (provider: WebsocketProvider) => provider.doc.getText("content");
const synced = (provider: WebsocketProvider) => until("it is synced", () => provider.synced);

describe("y-websocket", () => {
  it("syncs both ways, and the server's text is the clients' text", async () => {
    const document = await project.document("a.txt", "start ");
    const ada = connect(document);
    const linus = connect(document, await project.join("editor", "Linus"));
    await Promise.all([synced(ada), synced(linus)]);
    text(ada).insert(0, "ada ");
    text(linus).insert(text(linus).length, "linus 😀");
    await until("both see both", () =>
      [ada, linus].every((each) => text(each).toString() === "ada start linus 😀"),
    );
    await until(
      "the server has it too",
      async () => (await project.text(document)) === "ada start linus 😀",
    );
  });

  it("meets a Hocuspocus client in the same document", async () => {
    const document = await project.document("b.txt");
    const plain = connect(document);
    const other = multiplexed(document);
    await Promise.all([synced(plain), until("the other is synced", () => other.isSynced)]);
    text(plain).insert(0, "plain ");
    await until(
      "it arrives there",
      () => other.document.getText("content").toString() === "plain ",
    );
    other.document.getText("content").insert(6, "multiplexed");
    await until("it arrives here", () => text(plain).toString() === "plain multiplexed");
  });

  it("[S19] and a Hocuspocus client are asked now and then what the server lacks, which counts as nothing unsaved", async () => {
    const document = await project.document("asked.txt", "base");
    const ada = connect(document);
    const linus = multiplexed(document);
    const vera = multiplexed(document, await project.join("viewer", "Vera"));
    const saved = (each: HocuspocusProvider) => each.isSynced && !each.hasUnsyncedChanges;
    await Promise.all([synced(ada), until("both are saved", () => [linus, vera].every(saved))]);
    const counts: number[] = [];
    for (const each of [linus, vera]) {
      each.on("unsyncedChanges", ({ number }: { number: number }) => counts.push(number));
    }

    // As from another tab whose own connection was lost: nobody tells the server.
    for (const [doc, provider, at, words] of [
      [ada.doc, ada, 4, " ada"],
      [linus.document, linus, 0, "linus "],
    ] as const) {
      const tab = new Y.Doc();
      Y.applyUpdate(tab, Y.encodeStateAsUpdate(doc));
      tab.getText("content").insert(at, words);
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(tab), provider);
    }
    expect(await project.text(document)).toBe("base");
    const expected = "linus base ada";
    await until(
      "the server has found both",
      async () => (await project.text(document)) === expected,
      60_000,
    );
    await until("everybody has", () =>
      [ada.doc, linus.document, vera.document].every(
        (doc) => doc.getText("content").toString() === expected,
      ),
    );
    expect(counts).toEqual([]);
    linus.document.getText("content").insert(0, "!");
    await until("it is saved", () => saved(linus));
    expect(counts).toEqual([1, 0]);
  }, 90_000);

  it("shows presence under the name the server knows, and drops it with the socket", async () => {
    const document = await project.document("c.txt");
    const ada = connect(document);
    const linus = connect(document, await project.join("editor", "Linus"));
    await Promise.all([synced(ada), synced(linus)]);
    linus.awareness.setLocalState({
      user: { id: "x", name: "The Queen", color: "#123456", kind: "agent" },
      cursor: null,
    });
    const seen = () =>
      ada.awareness.getStates().get(linus.doc.clientID)?.user as
        | { name: string; kind: string }
        | undefined;
    await until("Ada sees Linus", () => seen()?.name === "Linus");
    expect(seen()?.kind).toBe("person");
    linus.shouldConnect = false;
    (linus.ws as unknown as WebSocket).terminate();
    await until("Linus is gone", () => seen() === undefined, 10_000);
  });

  it("[A3] lets a viewer read and change nothing", async () => {
    const document = await project.document("d.txt", "look");
    const editor = connect(document);
    const viewer = connect(document, await project.join("viewer", "Vera"));
    await Promise.all([synced(editor), synced(viewer)]);
    text(viewer).insert(0, "mine ");
    text(editor).insert(4, " here");
    await until("the viewer still follows", () => text(viewer).toString().includes("look here"));
    expect(text(editor).toString()).toBe("look here");
    expect(await project.text(document)).toBe("look here");
  });

  it.each([
    ["a token that is not one", "bad", "4401"],
    ["a document that does not exist", "missing", "4404"],
    ["a project one is not in", "foreign", "4403"],
  ])("is closed for good for %s", async (_, which, expected) => {
    let document = await project.document("e.txt", "e");
    let token = project.owner;
    if (which === "bad") token = "no-such-token";
    if (which === "missing") document = "AAAAAAAAAAAAAAAAAAAAAA";
    if (which === "foreign") token = (await server.project("Foreign", "Eve")).owner;
    const codes: number[] = [];
    const provider = connect(document, token);
    provider.on("connection-close", (event: CloseEvent | null) => codes.push(event?.code ?? 0));
    await until("it is closed", () => codes.length > 0);
    expect(String(codes[0])).toMatch(new RegExp(which === "foreign" ? "440[34]" : expected));
    expect(text(provider).toString()).toBe("");
    await until("the client has given up", () => !provider.shouldConnect);
  });

  it("[S9] comes back after a restart and merges what was typed meanwhile once", async () => {
    const document = await project.document("f.txt", "base ");
    const ada = connect(document);
    await synced(ada);
    await server.stop();
    await until("the client has noticed", () => !ada.wsconnected);
    text(ada).insert(5, "offline");
    await server.restart();
    await until("the server has it", async () => (await project.text(document)) === "base offline");
    const linus = connect(document);
    await synced(linus);
    expect(text(linus).toString()).toBe("base offline");
  });

  it("[S10] gets a data frame before it would give the socket up", async () => {
    const document = await project.document("g.txt");
    const ada = connect(document);
    await synced(ada);
    let closes = 0;
    ada.on("connection-close", () => {
      closes += 1;
    });
    // Without presence of its own the client sends nothing that could be echoed.
    ada.awareness.setLocalState(null);
    const before = ada.wsLastMessageReceived;
    await until("a frame came by itself", () => ada.wsLastMessageReceived > before, 29_000);
    expect(closes).toBe(0);
  });
});

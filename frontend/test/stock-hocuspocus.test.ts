/** An unmodified `@hocuspocus/provider` against the real server. */

import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { createDecoder, readVarInt, readVarString, readVarUint } from "lib0/decoding";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
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

/** A socket as a page of the server's own opens it; programs send no origin. */
class PageSocket extends WebSocket {
  constructor(url: string) {
    super(url, { origin: server.url });
  }
}

function newSocket(options: Record<string, unknown> = {}): HocuspocusProviderWebsocket {
  const socket = new HocuspocusProviderWebsocket({
    url: `${server.socketUrl}/sync?project=${project.id}`,
    WebSocketPolyfill: WebSocket,
    delay: 100,
    minDelay: 100,
    maxDelay: 500,
    ...options,
  });
  closing.push(() => socket.destroy());
  return socket;
}

type Options = Partial<ConstructorParameters<typeof HocuspocusProvider>[0]> & {
  token?: string | (() => Promise<string>);
};

/** A provider on a socket of its own unless it is given one. */
function connect(address: string, options: Options = {}): HocuspocusProvider {
  const provider = new HocuspocusProvider({
    name: address,
    websocketProvider: newSocket(),
    token: project.owner,
    ...options,
  });
  closing.push(() => provider.destroy());
  provider.attach();
  return provider;
}

const text = (provider: HocuspocusProvider) => provider.document.getText("content");
const synced = (provider: HocuspocusProvider) =>
  until(`${provider.configuration.name} is synced`, () => provider.isSynced);
const saved = (provider: HocuspocusProvider) =>
  until("everything is saved", () => provider.isSynced && !provider.hasUnsyncedChanges);

describe("text", () => {
  it("[S1] goes both ways, and the server's text is the clients' text", async () => {
    const document = await project.document("a.py", "start\n");
    const address = `${project.id}/${document}`;
    const ada = connect(address);
    const linus = connect(address, { token: await project.join("editor", "Linus") });
    await Promise.all([synced(ada), synced(linus)]);
    expect(text(ada).toString()).toBe("start\n");

    text(ada).insert(0, "ada ");
    text(linus).insert(text(linus).length, "linus 😀\n");
    await until("both see both", () =>
      [ada, linus].every((each) => text(each).toString() === "ada start\nlinus 😀\n"),
    );
    await Promise.all([saved(ada), saved(linus)]);
    expect(await project.text(document)).toBe("ada start\nlinus 😀\n");
  });

  it("is the same everywhere after many concurrent edits", async () => {
    const document = await project.document("b.py");
    const address = `${project.id}/${document}`;
    const clients = [connect(address), connect(address), connect(address)];
    await Promise.all(clients.map(synced));
    let seed = 7;
    const draw = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
      return seed % below;
    };
    for (let round = 0; round < 60; round++) {
      for (const client of clients) {
        const content = text(client);
        if (content.length > 10 && draw(4) === 0) content.delete(draw(content.length - 3), 3);
        else content.insert(draw(content.length + 1), `w${draw(100)} `);
      }
      if (round % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await Promise.all(clients.map(saved));
    const [first, ...others] = clients as [HocuspocusProvider, ...HocuspocusProvider[]];
    for (const other of others) {
      await until("all clients agree", () => text(other).toString() === text(first).toString());
    }
    expect(await project.text(document)).toBe(text(first).toString());
  });

  it("is kept when it was typed before the token was there", async () => {
    const document = await project.document("early.py");
    let give: (token: string) => void = () => {};
    const token = new Promise<string>((resolve) => {
      give = resolve;
    });
    const provider = connect(`${project.id}/${document}`, { token: () => token });
    await until(
      "the socket is open",
      () => provider.configuration.websocketProvider.webSocket?.readyState === 1,
    );
    for (const letter of "early") text(provider).insert(text(provider).length, letter);
    give(project.owner);
    await saved(provider);
    expect(await project.text(document)).toBe("early");
  });

  it("is saved once the counter of unsynced changes is at zero, also after a crash", async () => {
    const document = await project.document("c.py");
    const provider = connect(`${project.id}/${document}`);
    await saved(provider);
    const counts: number[] = [];
    provider.on("unsyncedChanges", ({ number }: { number: number }) => counts.push(number));
    for (let line = 0; line < 20; line++) text(provider).insert(text(provider).length, `${line}\n`);
    expect(provider.unsyncedChanges).toBe(20);
    await saved(provider);
    expect(counts.at(-1)).toBe(0);
    await server.kill();
    const expected = text(provider).toString();
    closing
      .splice(0)
      .reverse()
      .forEach((close) => {
        close();
      });
    await server.restart();
    expect(await project.text(document)).toBe(expected);
  });

  it("[S9] typed while the server is away arrives once when it is back", async () => {
    const document = await project.document("d.py", "base\n");
    const address = `${project.id}/${document}`;
    const ada = connect(address);
    const linus = connect(address);
    await Promise.all([saved(ada), saved(linus)]);
    await server.stop();
    await until("both have noticed", () =>
      [ada, linus].every((each) => each.configuration.websocketProvider.status === "disconnected"),
    );
    text(ada).insert(0, "ada offline\n");
    text(linus).insert(text(linus).length, "linus offline\n");
    await server.restart();
    await Promise.all([saved(ada), saved(linus)]);
    const expected = "ada offline\nbase\nlinus offline\n";
    await until("both are merged", () =>
      [ada, linus].every((each) => text(each).toString() === expected),
    );
    expect(await project.text(document)).toBe(expected);
  });
});

describe("one socket", () => {
  it("carries many documents", async () => {
    const documents = await Promise.all(
      Array.from({ length: 20 }, (_, index) => project.document(`many/${index}.txt`, `${index}`)),
    );
    const websocketProvider = newSocket();
    const providers = documents.map((document) =>
      connect(`${project.id}/${document}`, { websocketProvider }),
    );
    const tree = connect(project.id, { websocketProvider });
    await Promise.all([...providers, tree].map(synced));
    providers.forEach((provider, index) => {
      text(provider).insert(0, `now ${index} was `);
    });
    await Promise.all(providers.map(saved));
    for (const [index, document] of documents.entries()) {
      expect(await project.text(document)).toBe(`now ${index} was ${index}`);
    }
    expect(tree.document.getMap("documents").size).toBe(20);
  });

  it("[S8] goes on when one document of it is denied", async () => {
    const document = await project.document("ok.txt", "fine");
    const websocketProvider = newSocket();
    const good = connect(`${project.id}/${document}`, { websocketProvider });
    const reasons: string[] = [];
    const bad = connect(`${project.id}/AAAAAAAAAAAAAAAAAAAAAA`, {
      websocketProvider,
      onAuthenticationFailed: ({ reason }) => reasons.push(reason),
    });
    await saved(good);
    await until("the other is denied", () => reasons.length > 0);
    expect(bad.isAuthenticated).toBe(false);
    // The provider goes on sending for a denied address; nobody else is to suffer for it.
    text(bad).insert(0, "into the void");
    text(good).insert(4, "!");
    await saved(good);
    expect(await project.text(document)).toBe("fine!");
    expect(websocketProvider.status).toBe("connected");
  });

  it("[A7] carries a document of a foreign project for nobody", async () => {
    const foreign = await server.project("Foreign", "Eve");
    const document = await foreign.document("secret.txt", "secret");
    const reasons: string[] = [];
    const provider = connect(`${foreign.id}/${document}`, {
      onAuthenticationFailed: ({ reason }) => reasons.push(reason),
    });
    await until("it is denied", () => reasons.length > 0);
    expect(text(provider).toString()).toBe("");
  });

  it("is denied everything with a token that is not one", async () => {
    const document = await project.document("x.txt", "x");
    const reasons: string[] = [];
    connect(`${project.id}/${document}`, {
      token: "no-such-token",
      onAuthenticationFailed: ({ reason }) => reasons.push(reason),
    });
    await until("it is denied", () => reasons.length > 0);
  });

  it("[A6] takes one ticket for all its documents, and no other socket takes that ticket", async () => {
    const [one, two] = [await project.document("1.txt", "1"), await project.document("2.txt", "2")];
    const ticket = await project.ticket(project.owner);
    const websocketProvider = newSocket({ WebSocketPolyfill: PageSocket });
    const first = connect(`${project.id}/${one}`, { websocketProvider, token: ticket });
    await synced(first);
    const second = connect(`${project.id}/${two}`, { websocketProvider, token: ticket });
    await synced(second);
    const reasons: string[] = [];
    connect(`${project.id}/${one}`, {
      websocketProvider: newSocket({ WebSocketPolyfill: PageSocket }),
      token: ticket,
      onAuthenticationFailed: ({ reason }) => reasons.push(reason),
    });
    await until("the second socket is denied", () => reasons.length > 0);
  });

  it("carries the same document twice with session awareness", async () => {
    const document = await project.document("twice.txt");
    const websocketProvider = newSocket();
    const options = { websocketProvider, sessionAwareness: true };
    const first = connect(`${project.id}/${document}`, options);
    const second = connect(`${project.id}/${document}`, options);
    await Promise.all([saved(first), saved(second)]);
    text(first).insert(0, "one ");
    await until("the second sees it", () => text(second).toString() === "one ");
    text(second).insert(4, "two");
    await until("the first sees it", () => text(first).toString() === "one two");
    await Promise.all([saved(first), saved(second)]);
    expect(await project.text(document)).toBe("one two");
  });

  it("survives detaching and attaching in quick succession", async () => {
    const document = await project.document("quick.txt", "quick");
    const websocketProvider = newSocket();
    const provider = connect(`${project.id}/${document}`, { websocketProvider });
    await saved(provider);
    for (let time = 0; time < 5; time++) {
      provider.detach();
      provider.attach();
    }
    text(provider).insert(5, "er");
    await saved(provider);
    const other = connect(`${project.id}/${document}`);
    await synced(other);
    expect(text(other).toString()).toBe("quicker");
    text(other).insert(0, "even ");
    await until("it is still subscribed", () => text(provider).toString() === "even quicker");
  });

  it("[S10] is kept alive by the server without presence", async () => {
    const document = await project.document("alive.txt");
    let frames = 0;
    const websocketProvider = newSocket({ onMessage: () => (frames += 1) });
    const provider = connect(`${project.id}/${document}`, { websocketProvider, awareness: null });
    await saved(provider);
    const before = frames;
    await until("a frame came by itself", () => frames > before, 28_000);
    expect(websocketProvider.status).toBe("connected");
  });
});

describe("a token", () => {
  it("can be sent again on a living document", async () => {
    const document = await project.document("refresh.txt");
    let asked = 0;
    let authenticated = 0;
    const provider = connect(`${project.id}/${document}`, {
      token: async () => {
        asked += 1;
        return project.owner;
      },
      onAuthenticated: () => (authenticated += 1),
    });
    await saved(provider);
    await provider.sendToken();
    await until("the server has answered again", () => authenticated === 2);
    expect(asked).toBe(2);
    text(provider).insert(0, "still here");
    await saved(provider);
    expect(await project.text(document)).toBe("still here");
  });
});

describe("a viewer", () => {
  it("[A3] reads everything and changes nothing", async () => {
    const document = await project.document("look.txt", "look");
    const address = `${project.id}/${document}`;
    const viewerToken = await project.join("viewer", "Vera");
    const editor = connect(address);
    const refusals: number[] = [];
    const viewer = connect(address, {
      token: viewerToken,
      onMessage: ({ event }) => {
        const decoder = createDecoder(new Uint8Array(event.data as ArrayBuffer));
        readVarString(decoder);
        if (readVarUint(decoder) === 8) refusals.push(readVarInt(decoder));
      },
    });
    await Promise.all([saved(editor), saved(viewer)]);
    expect(editor.authorizedScope).toBe("read-write");
    expect(viewer.authorizedScope).toBe("readonly");
    text(viewer).insert(0, "I was here. ");
    await until("the edit is refused", () => refusals.includes(0));
    expect(viewer.unsyncedChanges).toBeGreaterThan(0);
    text(editor).insert(4, " at this");
    await saved(editor);
    await until("the viewer still follows", () => text(viewer).toString().includes("look at this"));
    expect(text(editor).toString()).toBe("look at this");
    expect(await project.text(document)).toBe("look at this");
  });
});

describe("the replicas that the server writes", () => {
  it("are read-only, also for the owner, and show files and members", async () => {
    const tree = connect(project.id);
    const turns = connect(`${project.id}/turns`);
    await Promise.all([saved(tree), saved(turns)]);
    expect(tree.authorizedScope).toBe("readonly");
    expect(turns.authorizedScope).toBe("readonly");
    const id = await project.document("new.txt");
    await until("the new file is shown", () => tree.document.getMap("documents").has(id));
    expect(tree.document.getMap("documents").get(id)).toMatchObject({
      path: "new.txt",
      kind: "text",
    });
    await project.join("editor", "Linus");
    const names = () =>
      [...tree.document.getMap<{ name: string }>("members").values()].map(({ name }) => name);
    await until("the new member is shown", () => names().includes("Linus"));

    const other = connect(project.id);
    await saved(other);
    other.document.getMap("documents").set("forged", { path: "forged.txt" });
    await server.call("POST", `/projects/${project.id}/documents`, {
      token: project.owner,
      body: { path: "later.txt" },
    });
    await until("the tree goes on", () => tree.document.getMap("documents").size === 2);
    expect(tree.document.getMap("documents").has("forged")).toBe(false);
  });
});

describe("presence", () => {
  const user = (name: string) => ({ id: "made-up", name, color: "#123456", kind: "person" });
  const names = (provider: HocuspocusProvider): string[] =>
    [...(provider.awareness?.getStates() ?? [])]
      .filter(([client]) => client !== provider.document.clientID)
      .map(([, state]) => (state.user as { name?: string } | undefined)?.name ?? "");

  it("[P1] reaches the others under the name the server knows", async () => {
    const document = await project.document("who.txt", "who");
    const address = `${project.id}/${document}`;
    const ada = connect(address);
    const linus = connect(address, { token: await project.join("editor", "Linus") });
    await Promise.all([saved(ada), saved(linus)]);
    const position = (index: number) =>
      Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text(linus), index));
    linus.awareness?.setLocalState({
      user: user("The Queen"),
      cursor: { anchor: position(1), head: position(2) },
    });
    await until("Ada sees Linus", () => names(ada).includes("Linus"));
    expect(names(ada)).not.toContain("The Queen");
    const [state] = [...(ada.awareness?.getStates() ?? [])]
      .filter(([client]) => client === linus.document.clientID)
      .map(([, each]) => each);
    expect(state?.cursor).toMatchObject({ anchor: position(1), head: position(2) });
    expect(state?.user).not.toMatchObject({ id: "made-up" });
  });

  it("goes when the socket dies", async () => {
    const document = await project.document("gone.txt");
    const address = `${project.id}/${document}`;
    const ada = connect(address);
    const linus = connect(address, { token: await project.join("editor", "Linus") });
    await Promise.all([saved(ada), saved(linus)]);
    linus.awareness?.setLocalState({ user: user("Linus"), cursor: null });
    await until("Ada sees Linus", () => names(ada).includes("Linus"));
    const { websocketProvider } = linus.configuration;
    websocketProvider.shouldConnect = false;
    (websocketProvider.webSocket as unknown as WebSocket).terminate();
    await until("Linus is gone", () => !names(ada).includes("Linus"), 10_000);
  });

  it("goes when the document is detached", async () => {
    const document = await project.document("left.txt");
    const address = `${project.id}/${document}`;
    const ada = connect(address);
    const linus = connect(address, { token: await project.join("editor", "Linus") });
    await Promise.all([saved(ada), saved(linus)]);
    linus.awareness?.setLocalState({ user: user("Linus"), cursor: null });
    await until("Ada sees Linus", () => names(ada).includes("Linus"));
    linus.detach();
    await until("Linus is gone", () => !names(ada).includes("Linus"), 10_000);
  });

  it("[P2] cannot be made for others", async () => {
    const document = await project.document("forge.txt");
    const address = `${project.id}/${document}`;
    const ada = connect(address);
    const linus = connect(address, { token: await project.join("editor", "Linus") });
    const eve = connect(address, { token: await project.join("editor", "Eve") });
    await Promise.all([saved(ada), saved(linus), saved(eve)]);
    linus.awareness?.setLocalState({ user: user("Linus"), cursor: null });
    await until("Eve sees Linus", () => names(eve).includes("Linus"));
    // Eve claims that Linus has left.
    const client = linus.document.clientID;
    eve.awareness?.states.delete(client);
    const meta = eve.awareness?.meta.get(client);
    if (meta) eve.awareness?.meta.set(client, { clock: meta.clock + 5, lastUpdated: Date.now() });
    eve.awareness?.emit("update", [{ added: [], updated: [], removed: [client] }, "local"]);
    eve.awareness?.setLocalState({ user: user("Eve"), cursor: null });
    await until("Ada sees Eve", () => names(ada).includes("Eve"));
    expect(names(ada)).toContain("Linus");
  });
});

describe("calls over the socket", () => {
  it("answer the asking socket, with the server's codes", async () => {
    const tree = connect(project.id);
    await synced(tree);
    const answers: { id: number; result?: { id: string }; error?: { data: { code: string } } }[] =
      [];
    tree.on("stateless", ({ payload }: { payload: string }) => answers.push(JSON.parse(payload)));
    const call = (id: number, method: string, params: unknown) =>
      tree.sendStateless(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    call(1, "document.create", { path: "made.txt" });
    await until("it is made", () => answers.some(({ id }) => id === 1));
    call(2, "document.create", { path: "made.txt" });
    call(3, "no.such.method", {});
    await until("both are answered", () => answers.length === 3);
    const made = answers.find(({ id }) => id === 1)?.result?.id ?? "";
    expect(made).toMatch(/^[\w-]{22}$/);
    expect(answers.find(({ id }) => id === 2)?.error?.data.code).toBe("path_taken");
    expect(answers.find(({ id }) => id === 3)?.error).toBeDefined();
  });
});

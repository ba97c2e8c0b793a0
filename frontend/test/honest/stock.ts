/** Stock providers, unmodified, in one document: what our own client only imitates. */

import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { until } from "../server.ts";
import { newHand, nextEdit, perform } from "./edits.ts";
import type { Random } from "./random.ts";
import type { Stage } from "./stage.ts";

// y-websocket takes a constant from the browser's own class, whatever class it is given.
globalThis.WebSocket ??= WebSocket as unknown as typeof globalThis.WebSocket;

/** Bursts of editing of each client. */
const BURSTS = 60;
/** Lines a program writes without waiting for anything. */
const LINES = 600;

interface Client {
  name: string;
  doc: Y.Doc;
  isSaved(): boolean;
  interrupt(): void;
  close(): void;
}

type Options = Partial<ConstructorParameters<typeof HocuspocusProvider>[0]>;

function hocuspocus(stage: Stage, address: string, name: string, options: Options): Client {
  const websocketProvider = new HocuspocusProviderWebsocket({
    url: stage.socketUrl,
    WebSocketPolyfill: WebSocket,
    delay: 50,
    minDelay: 50,
    maxDelay: 200,
  });
  const provider = new HocuspocusProvider({ name: address, websocketProvider, ...options });
  const refused = ({ reason }: { reason: string }) => {
    throw new Error(`${name} was refused: ${reason}`);
  };
  provider.on("authenticationFailed", refused);
  provider.attach();
  return {
    name,
    doc: provider.document,
    isSaved: () => provider.isSynced && !provider.hasUnsyncedChanges,
    interrupt: () => (websocketProvider.webSocket as unknown as WebSocket | null)?.terminate(),
    close: () => {
      provider.destroy();
      websocketProvider.destroy();
    },
  };
}

function yWebsocket(stage: Stage, document: string, name: string, token: string): Client {
  const provider = new WebsocketProvider(stage.plainUrl, document, new Y.Doc(), {
    params: { token },
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    resyncInterval: 500,
  });
  return {
    name,
    doc: provider.doc,
    // It cannot tell; its text is compared.
    isSaved: () => provider.synced,
    interrupt: () => (provider.ws as unknown as WebSocket | null)?.terminate(),
    close: () => provider.destroy(),
  };
}

/** Gives the text all of them and the server have in the end. */
export async function meetStockClients(stage: Stage, random: Random): Promise<string> {
  const document = await stage.document("stock");
  const address = `${stage.project.id}/${document}`;
  const token = () => random.pick(stage.members).token;
  const clients = [
    hocuspocus(stage, address, "plain", { token: token() }),
    hocuspocus(stage, address, "batching", { token: token(), flushDelay: 30 }),
    hocuspocus(stage, address, "asking again", { token: token(), forceSyncInterval: 200 }),
    hocuspocus(stage, address, "with a session", { token: token(), sessionAwareness: true }),
    hocuspocus(stage, address, "without presence", { token: token(), awareness: null }),
    // Two tabs of one browser, which also tell each other directly.
    yWebsocket(stage, document, "first tab", stage.members[1]?.token ?? ""),
    yWebsocket(stage, document, "second tab", stage.members[1]?.token ?? ""),
  ];
  try {
    // A program writes at once, long before anybody has answered.
    const program = clients[0]?.doc.getText("content");
    for (let line = 0; line < LINES; line++) program?.insert(program.length, `${line}\n`);
    const hands = clients.map((client) => newHand(client.doc, random.fork()));
    for (let burst = 0; burst < BURSTS; burst++) {
      for (const [at, hand] of hands.entries()) {
        if (random.chance(0.6)) perform(hand, nextEdit(hand));
        if (random.chance(0.01)) clients[at]?.interrupt();
      }
      await new Promise((resolve) => setTimeout(resolve, random.below(20)));
    }
    const texts = () => clients.map((client) => client.doc.getText("content").toString());
    await until(
      "all stock clients have saved the same text",
      async () => {
        if (!clients.every((client) => client.isSaved())) return false;
        return new Set([...texts(), await stage.project.text(document)]).size === 1;
      },
      60_000,
    );
    return texts()[0] ?? "";
  } finally {
    for (const client of clients) client.close();
  }
}

/** Somebody pastes a large file, and somebody's page loads it from its local store after it has synced. */
export async function pasteLargeFile(stage: Stage): Promise<void> {
  const document = await stage.document("large");
  const address = `${stage.project.id}/${document}`;
  const token = stage.members[1]?.token ?? "";
  const paste = "a line of a large file\n".repeat(70_000);
  const pasting = hocuspocus(stage, address, "pasting", { token });
  try {
    await until("the one who pastes is saved", () => pasting.isSaved());
    pasting.doc.getText("content").insert(0, paste);
    await until("the paste is saved", () => pasting.isSaved(), 60_000);
    const stored = new Y.Doc();
    Y.applyUpdate(stored, Y.encodeStateAsUpdate(pasting.doc));
    stored.getText("content").insert(0, "typed offline\n");
    const store = Y.encodeStateAsUpdate(stored);
    const loading = hocuspocus(stage, address, "loading late", {
      token,
      // Its step 1 is on its way and nothing has come back: all of the store is new, and sent.
      onAuthenticated: () => Y.applyUpdate(loading.doc, store, "store"),
    });
    try {
      await until("the store is saved", () => loading.isSaved(), 60_000);
    } finally {
      loading.close();
    }
    const text = await stage.project.text(document);
    if (text !== `typed offline\n${paste}`) throw new Error("a large text is not what was pasted");
  } finally {
    pasting.close();
  }
}

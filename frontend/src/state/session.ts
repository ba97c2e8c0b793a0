/**
 * One open project: one socket, the tree, the turns, and the documents that are open.
 * It lives outside the UI framework; the UI reads its store and calls its methods.
 */

import { HocuspocusProvider } from "@hocuspocus/provider";
import * as Y from "yjs";
import { createStore, type StoreApi } from "zustand/vanilla";
import { api } from "../core/api.ts";
import { Backoff } from "../core/backoff.ts";
import { displayName } from "../core/decode.ts";
import {
  codeOf,
  isTransient,
  RequestError,
  refusalVerdict,
  socketVerdict,
} from "../core/errors.ts";
import { FrameTask } from "../core/frame.ts";
import { recall, remember } from "../core/memory.ts";
import type { Attribution, DocumentEntry, PresenceUser } from "../core/protocol.ts";
import { Rpc } from "../core/rpc.ts";
import { Kept } from "./kept.ts";
import { type DocumentState, OpenDocument } from "./open-document.ts";
import { readPeers } from "./peers.ts";
import { Returning } from "./returning.ts";
import { Reviews } from "./reviews.ts";
import { countUnsaved, INITIAL_STATE, type SessionState } from "./session-state.ts";
import { ProjectSocket } from "./socket.ts";
import { readTree } from "./tree.ts";
import { readTurn, sortTurns } from "./turns.ts";
import { Unsent } from "./unsent.ts";

/** Documents stay attached after one turns to another; beyond this many the oldest go. */
const KEPT_DOCUMENTS = 8;

/** Refusals of a whole socket in a row after which we stop and say so. */
const MAX_REFUSALS = 4;

/** Requests for one verdict about all of an agent's turns; the server takes a hundred turns in each. */
const MAX_BATCHES = 100;

/** Waits for a server that is not there yet when the page is opened. */
const FIRST_WAIT_MS = 2000;
const MOST_WAIT_MS = 15_000;

/** What `turn.start` is asked with. */
export interface TurnRequest {
  prompt: string;
  document: string | null;
  /** RelativePosition JSON. */
  selection: { anchor: unknown; head: unknown } | null;
}

export class ProjectSession {
  readonly store: StoreApi<SessionState> = createStore<SessionState>(() => INITIAL_STATE);
  private readonly socket: ProjectSocket;
  private readonly tree: HocuspocusProvider;
  private readonly turnsProvider: HocuspocusProvider;
  private readonly treeDoc = new Y.Doc();
  private readonly turnsDoc = new Y.Doc();
  private readonly rpc: Rpc;
  private readonly opened = new Map<string, OpenDocument>();
  /** What turns did that nobody has judged yet. */
  readonly reviews = new Reviews(
    (turn) => api.changes(this.id, turn),
    () => this.set({ reviewVersion: this.store.getState().reviewVersion + 1 }),
  );
  private readonly changedTurns = new Set<string>();
  private readonly turnFrame = new FrameTask(() => this.showTurns());
  private readonly peerFrame = new FrameTask(() => this.showPeers());
  private ticket: { socket: unknown; value: Promise<string> } | null = null;
  private refusals = 0;
  private readonly backoff = new Backoff(FIRST_WAIT_MS, MOST_WAIT_MS);
  private readonly kept = new Kept();
  /** What was typed here and the server does not have. */
  readonly unsent = new Unsent({
    opened: this.opened,
    address: (document) => this.address(document),
    path: (document) => this.store.getState().documents.get(document)?.path ?? null,
    kept: this.kept,
    onChange: (asides) => this.set({ asides }),
  });
  private readonly treeReturn: Returning;
  private readonly turnsReturn: Returning;
  private destroyed = false;

  constructor(readonly id: string) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new ProjectSocket({
      url: `${scheme}://${location.host}/sync?project=${encodeURIComponent(id)}`,
      autoConnect: false,
      onStatus: ({ status }) => this.onStatus(status),
      onClose: ({ event }) => this.onSocketClose(event.code),
    });
    this.tree = new HocuspocusProvider({
      name: id,
      document: this.treeDoc,
      websocketProvider: this.socket,
      token: this.token,
      onAuthenticated: () => this.onAuthenticated(),
      onAuthenticationFailed: ({ reason }) => this.onTreeDenied(reason),
      onSynced: ({ state }) => {
        if (state) this.onTreeSynced();
      },
      onClose: ({ event }) => {
        // The socket's own end has a code of its own; 1000 stands for the tree alone, as when we are taken out.
        if (event.code === 1000 && this.socket.status === "connected") {
          void this.onTreeClosed(event.reason ?? "");
        }
      },
      onStateless: ({ payload }) => this.rpc.receive(payload),
      onAwarenessChange: () => this.peerFrame.schedule(),
    });
    this.turnsProvider = new HocuspocusProvider({
      name: `${id}/turns`,
      document: this.turnsDoc,
      awareness: null,
      websocketProvider: this.socket,
      token: this.token,
      onAuthenticated: () => this.turnsReturn.reset(),
      onAuthenticationFailed: ({ reason }) => {
        if (this.denialCounts(reason)) this.onTurnsRefused(reason);
      },
      onSynced: ({ state }) => {
        if (state) this.set({ turnsSynced: true });
      },
      onClose: ({ event }) => {
        if (event.code === 1000 && this.socket.status === "connected") {
          this.onTurnsRefused(event.reason ?? "");
        }
      },
    });
    this.treeReturn = returning(this.socket, this.tree);
    this.turnsReturn = returning(this.socket, this.turnsProvider);
    this.rpc = new Rpc((payload) => this.tree.sendStateless(payload));
    this.treeDoc.on("update", this.showTree);
    this.turnsRoot.observeDeep(this.onTurns);
    addEventListener("beforeunload", this.onBeforeUnload);
    addEventListener("online", this.onBrowserOnline);
    void this.start();
  }

  /** Shows a document and tells the others that we are there. */
  select(id: string | null): void {
    if (id !== null) this.ensureOpen(id);
    this.set({ current: id });
    if (id !== null) remember(`last.${this.id}`, id);
    if (this.tree.awareness?.getLocalState()) this.tree.setAwarenessField("document", id);
    this.evict();
  }

  /** An open document; `null` when it is not open. */
  document(id: string): OpenDocument | null {
    return this.opened.get(id) ?? null;
  }

  /** Lets go of a document with what was typed in it and never stored. */
  discard(id: string): void {
    void this.opened.get(id)?.forgetKept();
    this.close(id);
    if (this.store.getState().current === id) this.select(null);
  }

  /** Begins again after a failure that may have passed, with all that was typed here. */
  askAgain(): void {
    this.refusals = 0;
    this.ticket = null;
    if (this.store.getState().project === null) {
      this.set({ phase: "loading", failure: "" });
      void this.start();
    } else {
      this.set({ phase: "ready", failure: "" });
      void this.socket.connect();
    }
  }

  /** Tries at once instead of waiting for the next attempt. */
  retryNow(): void {
    if (this.socket.status !== "connected") void this.socket.connect();
  }

  async startTurn(request: TurnRequest): Promise<void> {
    const answer = await this.call("turn.start", {
      prompt: request.prompt,
      ...(request.document ? { document: request.document } : {}),
      ...(request.document && request.selection ? { selection: request.selection } : {}),
    });
    const id = (answer as { turn?: { id?: unknown } } | null)?.turn?.id;
    if (typeof id === "string") this.set({ ownTurn: id });
  }

  /** The person has typed, or does not want their last turn back: undo is about typing. */
  readonly forgetOwnTurn = (): void => {
    if (this.store.getState().ownTurn !== null) this.set({ ownTurn: null });
  };

  async interruptTurn(turn: string): Promise<void> {
    await this.call("turn.interrupt", { turn });
  }

  async rejectTurn(turn: string): Promise<void> {
    await this.call("turn.reject", { turn });
  }

  async acceptTurn(turn: string): Promise<void> {
    await this.call("turn.accept", { turn });
  }

  /** Decides about single hunks of a turn. */
  async judgeHunks(verdict: "accept" | "reject", turn: string, hunks: string[]): Promise<void> {
    await this.call(`turn.${verdict}`, { turn, hunks });
  }

  /** Accepts what is open of an agent's turns, or rejects all of them; the server does some at a time. */
  async judgeAgent(verdict: "accept" | "reject", agent: string): Promise<void> {
    for (let left = MAX_BATCHES; left > 0; left--) {
      const answer = await this.call(`agent.${verdict}`, { agent });
      const turns = (answer as { turns?: unknown } | null)?.turns;
      if (!Array.isArray(turns) || turns.length === 0) return;
    }
  }

  /** Who wrote a document, as the server knows it now. */
  attribution(document: string): Promise<Attribution> {
    return api.attribution(this.id, document);
  }

  /** Makes a document and returns its id. */
  async createDocument(path: string): Promise<string> {
    const answer = await this.call("document.create", { path });
    const id = (answer as { id?: unknown } | null)?.id;
    if (typeof id !== "string") throw new RequestError("unreadable", "", 200);
    return id;
  }

  async renameDocument(document: string, path: string): Promise<void> {
    await this.call("document.rename", { document, path });
  }

  async deleteDocument(document: string): Promise<void> {
    await this.call("document.delete", { document });
  }

  /** Our presence, as the server will stamp it anyway. */
  get user(): PresenceUser | null {
    const { you } = this.store.getState();
    if (!you) return null;
    return {
      id: you.id,
      name: you.name,
      color: you.color,
      colorLight: `${you.color}33`,
      kind: "person",
    };
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    removeEventListener("beforeunload", this.onBeforeUnload);
    removeEventListener("online", this.onBrowserOnline);
    this.treeDoc.off("update", this.showTree);
    this.turnsRoot.unobserveDeep(this.onTurns);
    this.turnFrame.cancel();
    this.peerFrame.cancel();
    this.rpc.disconnect();
    this.reviews.destroy();
    this.treeReturn.stop();
    this.turnsReturn.stop();
    this.unsent.destroy();
    for (const document of this.opened.values()) document.destroy();
    this.opened.clear();
    this.tree.destroy();
    this.turnsProvider.destroy();
    this.socket.destroy();
    this.treeDoc.destroy();
    this.turnsDoc.destroy();
  }

  private get turnsRoot(): Y.Map<unknown> {
    return this.turnsDoc.getMap("turns");
  }

  private set(change: Partial<SessionState>): void {
    if (!this.destroyed) this.store.setState(change);
  }

  private async start(): Promise<void> {
    try {
      const detail = await api.project(this.id);
      if (this.destroyed) return;
      this.set({
        phase: "ready",
        project: detail,
        you: detail.you,
        members: new Map(detail.members.map((member) => [member.id, member])),
        agents: new Map(detail.agents.map((agent) => [agent.id, agent])),
      });
      const { user } = this;
      this.tree.awareness?.setLocalState({ user, document: null });
      this.tree.attach();
      this.turnsProvider.attach();
      void this.socket.connect();
    } catch (error) {
      const code = codeOf(error);
      if (this.destroyed) return;
      if (code === "offline" || code === "busy" || code === "rate_limited") {
        // The page may be up before the server is, after a restart say.
        const wait = this.backoff.next(error instanceof RequestError ? error.retryAfterMs : 0);
        setTimeout(() => !this.destroyed && void this.start(), wait);
        this.set({ connection: "offline", offlineSince: this.offlineSince() });
      } else this.set({ phase: "failed", failure: code });
    }
  }

  /** One ticket per socket, shared by everything on it. */
  private readonly token = async (): Promise<string> => {
    const socket = this.socket.webSocket;
    if (this.ticket === null || this.ticket.socket !== socket) {
      this.ticket = { socket, value: api.ticket().then(({ ticket }) => ticket) };
    }
    const { value } = this.ticket;
    try {
      return await value;
    } catch (error) {
      if (this.ticket?.socket === socket) this.ticket = null;
      const code = codeOf(error);
      if (isTransient(code)) {
        const wait = error instanceof RequestError ? error.retryAfterMs : 0;
        this.comeBackLater(socket, code, wait);
      } else this.fail(code);
      throw error;
    }
  };

  private fail(code: string): void {
    this.socket.disconnect();
    this.set({ phase: "failed", failure: code });
  }

  private onStatus(status: string): void {
    if (status === "connected") return;
    // An agent or a person is not known to be here while we are not.
    this.rpc?.disconnect();
    if (status === "disconnected") {
      this.set({ connection: "offline", offlineSince: this.offlineSince() });
    }
  }

  private offlineSince(): number {
    return this.store.getState().offlineSince ?? Date.now();
  }

  private onAuthenticated(): void {
    this.refusals = 0;
    this.socket.settled();
    this.treeReturn.reset();
    this.set({ connection: "online", offlineSince: null, crowded: false });
  }

  private onTreeDenied(reason: string): void {
    if (!this.denialCounts(reason)) return;
    if (reason === "bad_ticket" && ++this.refusals < MAX_REFUSALS) {
      // The ticket ran out on the way; a new socket brings a new one.
      this.ticket = null;
      this.socket.webSocket?.close();
      return;
    }
    if (refusalVerdict(reason) === "later") {
      this.comeBackLater(this.socket.webSocket, reason, 0);
    } else void this.checkAccess("no_access");
  }

  /** The tree was closed alone: for a while, or because we are not to be here any more. */
  private async onTreeClosed(reason: string): Promise<void> {
    if (refusalVerdict(reason) !== "later") await this.checkAccess("");
    if (!this.destroyed) this.treeReturn.later();
  }

  private onTurnsRefused(reason: string): void {
    // Where it is more than a busy server, the tree is refused as well, and says why.
    if (refusalVerdict(reason) === "later") this.turnsReturn.later();
  }

  /** Gives the connection up for a while: the server cannot be asked, or asks us to wait. */
  private comeBackLater(socket: WebSocket | null, code: string, atLeastMs: number): void {
    this.set({ crowded: code === "busy" || code === "rate_limited" });
    this.socket.holdOff(atLeastMs);
    socket?.close();
  }

  /** Denials that follow from a socket we are giving up say nothing about a document. */
  private readonly denialCounts = (reason: string): boolean =>
    !reason.startsWith("Failed to get token") && !this.destroyed;

  private onSocketClose(code: number): void {
    const verdict = socketVerdict(code);
    if (verdict === "later") this.set({ crowded: true });
    if (verdict === "retry" || verdict === "later") return;
    if (++this.refusals >= MAX_REFUSALS) {
      this.fail(
        verdict === "sign_in"
          ? "not_signed_in"
          : verdict === "no_access"
            ? "no_access"
            : "internal",
      );
    } else if (verdict !== "defect") void this.checkAccess("");
  }

  /** Asks over HTTP whether we may still be here. */
  private async checkAccess(otherwise: string): Promise<void> {
    try {
      await api.project(this.id);
      if (otherwise) this.fail(otherwise);
    } catch (error) {
      const code = codeOf(error);
      if (!isTransient(code)) this.fail(code);
      else if (this.socket.status === "connected") {
        const wait = error instanceof RequestError ? error.retryAfterMs : 0;
        this.comeBackLater(this.socket.webSocket, code, wait);
      }
    }
  }

  private onTreeSynced(): void {
    this.showTree();
    this.set({ treeSynced: true });
    const { current } = this.store.getState();
    if (current === null) this.select(this.firstDocument());
  }

  /** The document of last time, else one that is likely to be the entrance. */
  private firstDocument(): string | null {
    const { documents } = this.store.getState();
    const last = recall(`last.${this.id}`);
    if (last !== null && documents.has(last)) return last;
    const entries = [...documents.values()];
    const entrance = entries.find(({ path }) => /^(main|index|app)\.\w+$/i.test(path));
    return (entrance ?? entries.sort((a, b) => (a.path < b.path ? -1 : 1))[0])?.id ?? null;
  }

  private readonly showTree = (): void => {
    const { documents, members, agents } = readTree(this.treeDoc);
    const before = this.store.getState();
    const name = this.treeDoc.getMap("settings").get("name");
    const you = before.you && (members.get(before.you.id) ?? before.you);
    this.set({
      documents,
      ...(members.size > 0 ? { members } : {}),
      ...(agents.size > 0 ? { agents } : {}),
      you,
      project: before.project && {
        ...before.project,
        name: displayName(name, before.project.name),
        role: you?.role ?? before.project.role,
      },
    });
    this.followEpochs(before.documents, documents);
    if (before.you && you && before.you.role !== you.role) this.followRole();
    const { current } = before;
    const isGone = (id: string) => before.treeSynced && !documents.has(id) && !this.isUnsaved(id);
    if (current !== null && isGone(current)) this.select(null);
    for (const id of [...this.opened.keys()]) {
      if (isGone(id) && id !== this.store.getState().current) this.close(id);
    }
    this.peerFrame.schedule();
  };

  private showPeers(): void {
    const awareness = this.tree.awareness;
    if (!awareness) return;
    const { you } = this.store.getState();
    this.set({ peers: readPeers(awareness.getStates(), awareness.clientID, you?.id ?? null) });
  }

  private readonly onTurns = (events: Y.YEvent<Y.AbstractType<unknown>>[]): void => {
    for (const event of events) {
      const turn = event.path[0];
      if (typeof turn === "string") this.changedTurns.add(turn);
      else for (const key of event.changes.keys.keys()) this.changedTurns.add(key);
    }
    this.turnFrame.schedule();
  };

  private showTurns(): void {
    const turns = new Map(this.store.getState().turns.map((turn) => [turn.id, turn]));
    for (const id of this.changedTurns) {
      const turn = readTurn(id, this.turnsRoot.get(id));
      if (turn) turns.set(id, turn);
      else turns.delete(id);
    }
    this.changedTurns.clear();
    this.set({ turns: sortTurns([...turns.values()]) });
  }

  private ensureOpen(id: string): void {
    const known = this.opened.get(id);
    if (known) {
      // Moving it to the end marks it as used last.
      this.opened.delete(id);
      this.opened.set(id, known);
      return;
    }
    const { user } = this;
    if (!user) return;
    const document = new OpenDocument({
      id,
      address: this.address(id),
      epoch: this.store.getState().documents.get(id)?.epoch ?? "",
      socket: this.socket,
      token: this.token,
      user,
      kept: this.kept,
      denialCounts: this.denialCounts,
      onChange: this.onDocument,
      onRefused: (refused, reason) => this.startAfresh(refused, reason),
      isSetAside: this.unsent.isSetAside,
      onStrangeEdits: this.unsent.strange,
    });
    document.doc.on("update", (_update, _origin, _doc, { local }) => {
      // What is aside may arrive from others after all.
      if (!local) this.unsent.lookSoon(id);
    });
    this.opened.set(id, document);
    this.onDocument(id, document.state);
  }

  private address(document: string): string {
    return `${this.id}/${document}`;
  }

  /** Sets the text of a replica aside and fetches the document anew. */
  private startAfresh(id: string, reason: string): void {
    const document = this.opened.get(id);
    if (!document) return;
    this.unsent.refused(document, reason);
    const { place } = document;
    this.close(id);
    this.ensureOpen(id);
    const fresh = this.opened.get(id);
    if (fresh) fresh.place = place;
  }

  /** A document that goes on with another history cannot be brought together with the one here. */
  private followEpochs(
    before: ReadonlyMap<string, DocumentEntry>,
    after: ReadonlyMap<string, DocumentEntry>,
  ): void {
    for (const [id, document] of this.opened) {
      const [old, fresh] = [before.get(id)?.epoch, after.get(id)?.epoch];
      if (old === undefined || fresh === undefined || old === fresh) continue;
      if (document.state.unsaved > 0) this.startAfresh(id, "epoch");
      else {
        this.close(id);
        this.ensureOpen(id);
      }
    }
  }

  /** What we may do has changed: documents that were let in for reading are asked for again. */
  private followRole(): void {
    for (const document of this.opened.values()) {
      if (document.state.readOnly && document.state.phase === "ready") document.reattach();
    }
  }

  private readonly onDocument = (id: string, state: DocumentState): void => {
    const before = this.store.getState();
    const open = new Map(before.open).set(id, state);
    this.set({ open, ...countUnsaved(open, before.unsavedSince) });
    if (state.phase === "ready" && state.unsaved === 0) this.unsent.stored(id);
    if (state.phase === "ready" && before.open.get(id)?.phase !== "ready") {
      this.unsent.look(id);
    }
  };

  /** Lets go of the documents that were used longest ago, once all their edits are stored. */
  private evict(): void {
    const { current } = this.store.getState();
    for (const [id, document] of this.opened) {
      if (this.opened.size <= KEPT_DOCUMENTS) return;
      if (id !== current && document.state.unsaved === 0) this.close(id);
    }
  }

  /** Text of ours that is nowhere else outlives its document in this page. */
  private isUnsaved(id: string): boolean {
    const state = this.opened.get(id)?.state;
    return state !== undefined && !state.readOnly && state.hasText && state.unsaved > 0;
  }

  private close(id: string): void {
    this.opened.get(id)?.destroy();
    this.opened.delete(id);
    this.unsent.closed(id);
    const open = new Map(this.store.getState().open);
    open.delete(id);
    this.set({ open, ...countUnsaved(open, this.store.getState().unsavedSince) });
  }

  private async call(method: string, params: Record<string, unknown>): Promise<unknown> {
    if (this.store.getState().connection !== "online") throw new RequestError("offline", "", 0);
    return this.rpc.call(method, params);
  }

  private readonly onBeforeUnload = (event: BeforeUnloadEvent): void => {
    if (this.store.getState().unsaved > 0 || this.unsent.areCopiesOnlyHere) event.preventDefault();
  };

  private readonly onBrowserOnline = (): void => this.retryNow();
}

/** Brings an address of the project back by itself. */
function returning(socket: ProjectSocket, provider: HocuspocusProvider): Returning {
  return new Returning(socket, () => {
    provider.detach();
    provider.attach();
  });
}

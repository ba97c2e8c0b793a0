/**
 * Shows where other peers are, people and agents alike, and tells them where we are.
 *
 * A peer's place is resolved when that peer moves; in between it is mapped through the edits like
 * any other position. Drawing happens in layers beside the text, so a caret never disturbs what
 * is typed, and only the marks that changed are touched.
 */

import {
  EditorSelection,
  type Extension,
  StateEffect,
  StateField,
  type Transaction,
} from "@codemirror/state";
import {
  type EditorView,
  type LayerMarker,
  layer,
  type PluginValue,
  RectangleMarker,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import { decodePresence } from "../../core/decode.ts";
import { FrameTask } from "../../core/frame.ts";
import { bindingOf, remoteEdit } from "../collab/binding.ts";
import { remoteCursorsTheme } from "./theme.ts";

/** A person's name fades this long after their last move; an agent's stays. */
const NAME_SHOWN_MS = 2500;

/** Our own place is sent at most this often. */
const PUBLISH_EVERY_MS = 50;

/** A position of the editor, and the side of it that what is typed there leaves it on. */
export interface Place {
  readonly at: number;
  readonly side: -1 | 1;
}

/** Where a peer is. */
export interface PeerCursor {
  readonly client: number;
  readonly name: string;
  readonly color: string;
  readonly kind: "person" | "agent";
  readonly status: "reading" | "writing" | null;
  readonly anchor: Place;
  readonly head: Place;
  /** The name is shown. */
  readonly named: boolean;
}

/** What became of some peers; those that are not named stay as they are. */
interface Moves {
  readonly at: readonly PeerCursor[];
  readonly gone: readonly number[];
}

/** Moves, adds or removes peers. */
export const movePeers = StateEffect.define<Moves>();

/** The peers in this document. */
export const peerCursors = StateField.define<ReadonlyMap<number, PeerCursor>>({
  create: () => new Map(),
  update(peers, transaction) {
    let next = mapPeers(peers, transaction);
    for (const effect of transaction.effects) {
      if (!effect.is(movePeers)) continue;
      const changed = new Map(next);
      const length = transaction.newDoc.length;
      for (const client of effect.value.gone) changed.delete(client);
      for (const peer of effect.value.at) {
        changed.set(peer.client, {
          ...peer,
          anchor: { ...peer.anchor, at: Math.min(peer.anchor.at, length) },
          head: { ...peer.head, at: Math.min(peer.head.at, length) },
        });
      }
      next = changed;
    }
    return next;
  },
});

function mapPeers(
  peers: ReadonlyMap<number, PeerCursor>,
  transaction: Transaction,
): ReadonlyMap<number, PeerCursor> {
  if (!transaction.docChanged || peers.size === 0) return peers;
  const mapped = new Map<number, PeerCursor>();
  for (const [client, peer] of peers) {
    const anchor = mapPlace(peer.anchor, transaction);
    const head = mapPlace(peer.head, transaction);
    mapped.set(
      client,
      anchor === peer.anchor && head === peer.head ? peer : { ...peer, anchor, head },
    );
  }
  return mapped;
}

/**
 * A relative position holds on to the character on one side of it. While a peer types, that
 * character stays the same, presence has nothing new to tell, and only this mapping moves the caret.
 */
function mapPlace(place: Place, transaction: Transaction): Place {
  const at = transaction.changes.mapPos(place.at, place.side);
  return at === place.at ? place : { ...place, at };
}

/** Shows and publishes cursors over the presence of one document. */
export function remoteCursors(awareness: Awareness): Extension {
  return [
    peerCursors,
    ViewPlugin.define((view) => new CursorExchange(view, awareness)),
    layer({
      above: false,
      class: "cm-peerSelections",
      update: redraws,
      markers: (view) => visiblePeers(view).flatMap((peer) => selectionMarkers(view, peer)),
    }),
    layer({
      above: true,
      class: "cm-peerCarets",
      update: redraws,
      markers: (view) => visiblePeers(view).flatMap((peer) => caretMarkers(view, peer)),
    }),
    remoteCursorsTheme,
  ];
}

/** Goes between the presence of the document and the editor, at most once per frame. */
class CursorExchange implements PluginValue {
  private readonly moved = new Set<number>();
  /** Peers whose place is in text that has not arrived yet. */
  private readonly unresolved = new Set<number>();
  private readonly frame = new FrameTask(() => this.draw());
  private readonly fading = new Map<number, ReturnType<typeof setTimeout>>();
  private publishing: ReturnType<typeof setTimeout> | null = null;
  private published = "";

  constructor(
    private readonly view: EditorView,
    private readonly awareness: Awareness,
  ) {
    awareness.on("change", this.onPresence);
    for (const client of awareness.getStates().keys()) this.moved.add(client);
    this.frame.schedule();
  }

  update(update: ViewUpdate): void {
    if (update.docChanged || update.selectionSet || update.focusChanged) this.publishSoon();
    const remote = update.transactions.some((transaction) => transaction.annotation(remoteEdit));
    if (remote && this.unresolved.size > 0) {
      for (const client of this.unresolved) this.moved.add(client);
      this.frame.schedule();
    }
  }

  destroy(): void {
    this.awareness.off("change", this.onPresence);
    this.frame.cancel();
    for (const timer of this.fading.values()) clearTimeout(timer);
    if (this.publishing) clearTimeout(this.publishing);
    if (this.awareness.getLocalState()) this.awareness.setLocalStateField("cursor", null);
  }

  private readonly onPresence = (change: {
    added: number[];
    updated: number[];
    removed: number[];
  }): void => {
    for (const client of [...change.added, ...change.updated, ...change.removed]) {
      if (client !== this.awareness.clientID) this.moved.add(client);
    }
    if (this.moved.size > 0) this.frame.schedule();
  };

  private draw(): void {
    const binding = bindingOf(this.view);
    const doc = binding?.text.doc;
    if (!binding || !doc) return;
    // Places are those of the Y.Text, so the editor has to show that text first.
    binding.flush();
    const known = this.view.state.field(peerCursors);
    const at: PeerCursor[] = [];
    const gone: number[] = [];
    for (const client of this.moved) {
      this.unresolved.delete(client);
      const state = decodePresence(this.awareness.getStates().get(client));
      const place = state?.cursor && resolve(state.cursor, binding.text, doc);
      if (!state || !place) {
        if (state?.cursor && place === null) this.unresolved.add(client);
        else if (known.has(client)) gone.push(client);
        continue;
      }
      at.push({
        client,
        name: state.user.name,
        color: state.user.color,
        kind: state.user.kind,
        status: state.status,
        anchor: place.anchor,
        head: place.head,
        named: true,
      });
      this.fadeLater(client, state.user.kind);
    }
    this.moved.clear();
    if (at.length > 0 || gone.length > 0) {
      this.view.dispatch({ effects: movePeers.of({ at, gone }) });
    }
  }

  private fadeLater(client: number, kind: "person" | "agent"): void {
    const timer = this.fading.get(client);
    if (timer) clearTimeout(timer);
    this.fading.delete(client);
    if (kind === "agent") return;
    this.fading.set(
      client,
      setTimeout(() => {
        this.fading.delete(client);
        const peer = this.view.state.field(peerCursors).get(client);
        if (!peer) return;
        this.view.dispatch({
          effects: movePeers.of({ at: [{ ...peer, named: false }], gone: [] }),
        });
      }, NAME_SHOWN_MS),
    );
  }

  private publishSoon(): void {
    if (this.publishing) return;
    this.publishing = setTimeout(() => {
      this.publishing = null;
      this.publish();
    }, PUBLISH_EVERY_MS);
  }

  private publish(): void {
    const binding = bindingOf(this.view);
    if (!binding || !this.awareness.getLocalState()) return;
    // A view that never had the focus has no place to tell of; one that lost it keeps its last.
    if (!this.view.hasFocus) return;
    const { anchor, head } = this.view.state.selection.main;
    const relative = (position: number) =>
      Y.relativePositionToJSON(
        Y.createRelativePositionFromTypeIndex(binding.text, binding.toText(position)),
      );
    const cursor = { anchor: relative(anchor), head: relative(head) };
    const encoded = JSON.stringify(cursor);
    if (encoded === this.published) return;
    this.published = encoded;
    this.awareness.setLocalStateField("cursor", cursor);
  }
}

/** A place in the text, or `null` when it is in text that has not arrived. */
function resolve(
  cursor: { anchor: unknown; head: unknown },
  text: Y.Text,
  doc: Y.Doc,
): { anchor: Place; head: Place } | null {
  const anchor = resolvePosition(cursor.anchor, text, doc);
  const head = resolvePosition(cursor.head, text, doc);
  if (anchor === null || head === null) return null;
  return {
    anchor: { at: anchor, side: sideOf(cursor.anchor) },
    head: { at: head, side: sideOf(cursor.head) },
  };
}

function sideOf(json: unknown): -1 | 1 {
  const assoc = (json as { assoc?: unknown } | null)?.assoc;
  return typeof assoc === "number" && assoc < 0 ? -1 : 1;
}

/** An absolute position from RelativePosition JSON of anybody's making. */
export function resolvePosition(json: unknown, text: Y.Text, doc: Y.Doc): number | null {
  try {
    const relative = Y.createRelativePositionFromJSON(json);
    const absolute = Y.createAbsolutePositionFromRelativePosition(relative, doc);
    return absolute && absolute.type === text ? absolute.index : null;
  } catch {
    return null;
  }
}

function redraws(update: ViewUpdate): boolean {
  return (
    update.docChanged ||
    update.viewportChanged ||
    update.startState.field(peerCursors) !== update.state.field(peerCursors)
  );
}

function visiblePeers(view: EditorView): PeerCursor[] {
  const { from, to } = view.viewport;
  return [...view.state.field(peerCursors).values()].filter(
    ({ anchor, head }) =>
      Math.max(anchor.at, head.at) >= from && Math.min(anchor.at, head.at) <= to,
  );
}

function selectionMarkers(view: EditorView, peer: PeerCursor): LayerMarker[] {
  if (peer.anchor.at === peer.head.at) return [];
  const range = EditorSelection.range(peer.anchor.at, peer.head.at);
  return RectangleMarker.forRange(view, "cm-peerSelection", range).map(
    (box) => new ColoredBox(box, peer.color),
  );
}

function caretMarkers(view: EditorView, peer: PeerCursor): LayerMarker[] {
  const [box] = RectangleMarker.forRange(
    view,
    "cm-peerCaret",
    EditorSelection.cursor(peer.head.at),
  );
  if (!box) return [];
  return [new PeerCaret(box, peer, view.state.doc.lineAt(peer.head.at).number === 1)];
}

function place(element: HTMLElement, box: RectangleMarker): void {
  element.style.left = `${box.left}px`;
  element.style.top = `${box.top}px`;
  element.style.height = `${box.height}px`;
  if (box.width !== null) element.style.width = `${box.width}px`;
}

function sameBox(a: RectangleMarker, b: RectangleMarker): boolean {
  return a.left === b.left && a.top === b.top && a.width === b.width && a.height === b.height;
}

/** One rectangle of a peer's selection. */
class ColoredBox implements LayerMarker {
  constructor(
    private readonly box: RectangleMarker,
    private readonly color: string,
  ) {}

  eq(other: ColoredBox): boolean {
    return this.color === other.color && sameBox(this.box, other.box);
  }

  draw(): HTMLElement {
    const element = document.createElement("div");
    element.className = "cm-peerSelection";
    element.style.setProperty("--peer", this.color);
    place(element, this.box);
    return element;
  }
}

/** A peer's caret with its name. */
class PeerCaret implements LayerMarker {
  constructor(
    private readonly box: RectangleMarker,
    private readonly peer: PeerCursor,
    private readonly below: boolean,
  ) {}

  eq(other: PeerCaret): boolean {
    return (
      this.below === other.below &&
      this.peer.client === other.peer.client &&
      this.peer.name === other.peer.name &&
      this.peer.color === other.peer.color &&
      this.peer.named === other.peer.named &&
      this.peer.status === other.peer.status &&
      sameBox(this.box, other.box)
    );
  }

  draw(): HTMLElement {
    const element = document.createElement("div");
    element.setAttribute("aria-hidden", "true");
    const flag = document.createElement("span");
    flag.className = "cm-peerName";
    element.append(flag);
    this.paint(element);
    return element;
  }

  update(element: HTMLElement, old: PeerCaret): boolean {
    if (old.peer.client !== this.peer.client) return false;
    this.paint(element);
    return true;
  }

  private paint(element: HTMLElement): void {
    const { kind, named, status, color, name, client } = this.peer;
    const classes = ["cm-peerCaret", `cm-peerCaret-${kind}`];
    if (named) classes.push("cm-peerCaret-named");
    if (status === "writing") classes.push("cm-peerCaret-writing");
    // Above an agent's line is what it has just written, and people are reading it.
    if (this.below || (kind === "agent" && status === "writing")) {
      classes.push("cm-peerCaret-below");
    }
    element.className = classes.join(" ");
    element.dataset.client = String(client);
    element.style.setProperty("--peer", color);
    place(element, this.box);
    const flag = element.firstElementChild;
    if (flag && flag.textContent !== name) flag.textContent = name;
  }
}

/** Keeps the editor at hand told of who wrote what in it. */

import type { EditorView } from "@codemirror/view";
import { UndoManager } from "yjs";
import { color, decodePresence, displayName } from "../../core/decode.ts";
import { codeOf, isTransient } from "../../core/errors.ts";
import { UnitIndex } from "../../core/units.ts";
import {
  type Author,
  Authors,
  authoredRanges,
  type Names,
} from "../../editor/attribution/authors.ts";
import { setAuthors } from "../../editor/attribution/extension.ts";
import { bindingOf } from "../../editor/collab/binding.ts";
import type { OpenDocument } from "../../state/open-document.ts";
import type { ProjectSession } from "../../state/session.ts";
import { settings } from "../../state/settings.ts";

/** Remote edits are looked up together, at most this often. */
const LOOK_EVERY_MS = 1500;

/** The server is asked again at most this often, when somebody wrote what it has not told of. */
const ASK_EVERY_MS = 4000;

export class AttributionDesk {
  private view: EditorView | null = null;
  private document: OpenDocument | null = null;
  private authors: Authors | null = null;
  private asking = false;
  /** The server does not tell, and will not. */
  private refused = false;
  private askedAt = 0;
  private timer: ReturnType<typeof setTimeout> | null = null;

  private readonly leave: (() => void)[];

  constructor(private readonly session: ProjectSession) {
    this.leave = [
      settings.subscribe((state, before) => {
        if (state.authorsShown !== before.authorsShown) this.start();
      }),
      session.store.subscribe((state, before) => {
        const back = state.connection === "online" && before.connection !== "online";
        if (back || (state.open !== before.open && this.authors === null)) this.start();
      }),
    ];
  }

  destroy(): void {
    for (const leave of this.leave) leave();
  }

  show(document: OpenDocument, view: EditorView): void {
    this.view = view;
    this.document = document;
    this.authors = null;
    this.askedAt = 0;
    this.refused = false;
    document.doc.on("update", this.onUpdate);
    this.start();
  }

  hide(view: EditorView): void {
    if (this.view !== view) return;
    this.document?.doc.off("update", this.onUpdate);
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.view = null;
    this.document = null;
  }

  private start(): void {
    if (!this.view) return;
    if (settings.getState().authorsShown) void this.ask();
    else setAuthors(this.view, null);
  }

  /** What was typed here is known already; what comes from elsewhere, or back, is looked up. */
  private readonly onUpdate = (
    _update: Uint8Array,
    origin: unknown,
    _doc: unknown,
    transaction: { local: boolean },
  ): void => {
    if (!transaction.local || origin instanceof UndoManager) this.lookSoon();
  };

  private lookSoon(wait = LOOK_EVERY_MS): void {
    if (this.authors === null || !settings.getState().authorsShown) return;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.look(false);
    }, wait);
  }

  private async ask(): Promise<void> {
    const { document } = this;
    if (!document?.state.hasText || this.asking || this.refused) return;
    const soonest = this.askedAt + ASK_EVERY_MS - Date.now();
    if (soonest > 0) {
      this.lookSoon(soonest);
      return;
    }
    this.asking = true;
    this.askedAt = Date.now();
    try {
      const told = await this.session.attribution(document.id);
      if (this.document !== document) return;
      this.authors = new Authors(told, this.names(document));
      this.look(true);
    } catch (error) {
      // Without an answer no bars are shown; the next connection asks again, unless it is a no.
      if (this.document === document) this.refused = !isTransient(codeOf(error));
    } finally {
      this.asking = false;
      // Somebody has turned to another file, which was not asked for meanwhile.
      if (this.document !== document) this.start();
    }
  }

  private look(asked: boolean): void {
    const { view, document, authors } = this;
    const binding = view && bindingOf(view);
    if (!view || !document || !authors || !binding || !settings.getState().authorsShown) return;
    // Places are those of the Y.Text, so the editor has to show that text first.
    binding.flush();
    const names = this.names(document);
    const { ranges, unknown } = authoredRanges(UnitIndex.of(document.text), authors, names);
    setAuthors(view, ranges);
    // What an answer just now does not know, the next edit may bring to light.
    if (unknown && !asked) void this.ask();
  }

  private names(document: OpenDocument): Names {
    const { agents, you } = this.session.store.getState();
    const people = new Map<number, Author>();
    if (you) people.set(document.doc.clientID, personOf(you));
    for (const [client, raw] of document.awareness.getStates()) {
      const user = decodePresence(raw)?.user;
      if (user?.kind === "person") people.set(client, personOf(user));
    }
    return {
      agent: (id) => agents.get(id) ?? program(id),
      client: (client) => people.get(client) ?? null,
    };
  }
}

/** Edits over HTTP are those of a program with a token, or of a person with no page. */
function program(id: string): { name: string; color: string } | null {
  const [, name] = /^(?:token|person):(.+)$/.exec(id) ?? [];
  return name ? { name: displayName(name, "A program"), color: color(null) } : null;
}

/** A person as an author, the same whoever tells of them. */
export function personOf(person: { id: string; name: string; color: string }): Author {
  const { id, name, color } = person;
  return { key: `member ${id}`, kind: "person", name, color, turn: null };
}

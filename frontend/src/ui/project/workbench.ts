/** What the parts of the project page share about the editor at hand. */

import { Text } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import * as Y from "yjs";
import { createStore, type StoreApi } from "zustand/vanilla";
import type { Hunk } from "../../core/protocol.ts";
import { revealRange } from "../../editor/agent-edits/extension.ts";
import { whoWroteThisLine } from "../../editor/attribution/extension.ts";
import { bindingOf } from "../../editor/collab/binding.ts";
import { closePrompt, openPrompt } from "../../editor/prompt/extension.ts";
import { resolvePosition } from "../../editor/remote-cursors/extension.ts";
import type { OpenDocument } from "../../state/open-document.ts";
import { isOpenIn } from "../../state/reviews.ts";
import type { ProjectSession, TurnRequest } from "../../state/session.ts";
import { setPanel, settings, showMobilePanel } from "../../state/settings.ts";
import { AttributionDesk } from "./attribution-desk.ts";
import { ReviewDesk } from "./review-desk.ts";

/** The selected lines, for people to read. */
export interface SelectedLines {
  from: number;
  to: number;
}

export interface WorkbenchState {
  /** The document whose editor is shown. */
  document: string | null;
  /** `null` while nothing is selected. */
  lines: SelectedLines | null;
  /** Where the prompt at the selection goes, while it is open. */
  promptPlace: HTMLElement | null;
  /** Counts requests to put the focus into the panel's prompt. */
  focusPrompt: number;
  /** Counts requests to make a file. */
  newFile: number;
}

export class Workbench {
  readonly store: StoreApi<WorkbenchState> = createStore<WorkbenchState>(() => ({
    document: null,
    lines: null,
    promptPlace: null,
    focusPrompt: 0,
    newFile: 0,
  }));
  readonly review: ReviewDesk;
  private readonly attribution: AttributionDesk;
  private view: EditorView | null = null;
  private pending: { turn: string; hunk: Hunk } | null = null;

  constructor(private readonly session: ProjectSession) {
    this.review = new ReviewDesk(session);
    this.attribution = new AttributionDesk(session);
  }

  destroy(): void {
    this.review.destroy();
    this.attribution.destroy();
  }

  /** An editor has appeared. */
  show(document: OpenDocument, view: EditorView): void {
    this.view = view;
    this.store.setState({ document: document.id, lines: null, promptPlace: null });
    this.review.show(document.id, view);
    this.attribution.show(document, view);
    if (this.pending?.hunk.document === document.id) this.jump(this.pending);
  }

  /** The editor at hand has gone. */
  hide(view: EditorView): void {
    this.review.hide(view);
    this.attribution.hide(view);
    if (this.view !== view) return;
    this.view = null;
    this.store.setState({ document: null, lines: null, promptPlace: null });
  }

  /** The selection of the editor at hand has changed. */
  readonly onSelection = (view: EditorView): void => {
    const { main } = view.state.selection;
    const before = this.store.getState().lines;
    if (main.empty) {
      if (before) this.store.setState({ lines: null });
      return;
    }
    const from = view.state.doc.lineAt(main.from).number;
    const last = view.state.doc.lineAt(main.to);
    // A selection that ends before the first character of a line does not mean that line.
    const to = last.from === main.to && last.number > from ? last.number - 1 : last.number;
    if (before?.from !== from || before.to !== to) this.store.setState({ lines: { from, to } });
  };

  readonly placePrompt = (promptPlace: HTMLElement | null): void => {
    this.store.setState({ promptPlace });
  };

  /** Opens the prompt at the selection. */
  openPrompt(): void {
    if (this.view) openPrompt(this.view);
  }

  readonly closePrompt = (): void => {
    if (this.view) closePrompt(this.view);
  };

  /** Puts the focus into the panel's prompt. */
  readonly focusPanel = (): void => {
    setPanel("agent", true);
    showMobilePanel("agent");
    this.store.setState((state) => ({ focusPrompt: state.focusPrompt + 1 }));
  };

  /** Starts making a file in the list. */
  readonly newFile = (): void => {
    setPanel("files", true);
    showMobilePanel("files");
    this.store.setState((state) => ({ newFile: state.newFile + 1 }));
  };

  /** Asks the agent about what is open and selected. */
  async ask(prompt: string): Promise<void> {
    const { document } = this.store.getState();
    await this.session.startTurn({ prompt, document, selection: this.selection() });
  }

  /** Types a copy that was set aside into the document, as an edit of one's own. */
  putBack(key: string): void {
    const { view } = this;
    const binding = view && bindingOf(view);
    if (!view || !binding || view.state.readOnly) return;
    binding.flush();
    const only = this.session.unsent.compare(key);
    if (!only || only.conflict) return;
    const changes = view.state.changes(
      // A copy may hold line ends that the editor would count otherwise.
      only.edits.map(({ from, to, insert }) => ({ from, to, insert: Text.of(insert.split("\n")) })),
    );
    const before = view.state.doc;
    view.dispatch({
      changes,
      effects: EditorView.scrollIntoView(changes.mapPos(only.edits[0]?.from ?? 0, -1)),
      userEvent: "input.recover",
    });
    // What does not fit any more is still in the copy, and nowhere else.
    if (view.state.doc === before) return;
    this.session.unsent.returned(key);
    view.focus();
  }

  /** Opens a hunk's document and shows where it is. */
  reveal(turn: string, hunk: Hunk): void {
    if (settings.getState().mobilePanel !== "editor") showMobilePanel("editor");
    if (this.store.getState().document === hunk.document && this.view) this.jump({ turn, hunk });
    else {
      this.pending = { turn, hunk };
      this.session.select(hunk.document);
    }
  }

  /** Goes on with the review in another document. */
  reviewIn(document: string): void {
    const turn = this.session.store.getState().turns.findLast((each) => isOpenIn(each, document));
    const hunk = turn?.hunks.find((each) => each.document === document && each.state === "applied");
    if (turn && hunk) this.reveal(turn.id, hunk);
  }

  /** Shows and says who wrote the line of the cursor. */
  whoWroteThisLine(): void {
    if (this.view) whoWroteThisLine(this.view);
  }

  readonly say = (said: string): void => this.review.store.setState({ said });

  private jump({ turn, hunk }: { turn: string; hunk: Hunk }): void {
    this.pending = null;
    if (hunk.state === "applied" && this.review.reveal(turn, hunk.id)) return;
    const { view } = this;
    const text = view && bindingOf(view)?.text;
    if (!view || !text?.doc) return;
    bindingOf(view)?.flush();
    const from = resolvePosition(hunk.anchor, text, text.doc);
    const to = resolvePosition(hunk.head, text, text.doc);
    if (from !== null) revealRange(view, from, to ?? from);
    else if (hunk.line !== null) {
      const line = view.state.doc.line(Math.min(Math.max(1, hunk.line), view.state.doc.lines));
      revealRange(view, line.from, line.from);
    }
  }

  private selection(): TurnRequest["selection"] {
    const { view } = this;
    const binding = view && bindingOf(view);
    if (!view || !binding || view.state.selection.main.empty) return null;
    binding.flush();
    const { from, to } = view.state.selection.main;
    const relative = (position: number, assoc: number) =>
      Y.relativePositionToJSON(
        Y.createRelativePositionFromTypeIndex(binding.text, position, assoc),
      );
    return { anchor: relative(from, 0), head: relative(to, -1) };
  }
}

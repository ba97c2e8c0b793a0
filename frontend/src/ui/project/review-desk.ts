/** What is under review in the editor at hand, and what people decide about it. */

import type { EditorView } from "@codemirror/view";
import { createStore, type StoreApi } from "zustand/vanilla";
import { explain, type Told } from "../../core/errors.ts";
import type { Turn } from "../../core/protocol.ts";
import {
  acceptAll,
  acceptHunk,
  beginningOf,
  goToHunk,
  nextHunk,
  previousHunk,
  rejectAll,
  rejectHunk,
  reviewField,
  setReview,
  type Verdict,
} from "../../editor/review/extension.ts";
import type { ReviewHunk } from "../../editor/review/placing.ts";
import { isOpenIn, type OpenHunk } from "../../state/reviews.ts";
import type { ProjectSession } from "../../state/session.ts";
import { settings } from "../../state/settings.ts";
import { isReviewable } from "../../state/turns.ts";

/** So much of a hunk's text is read out. */
const SPOKEN_UNITS = 120;

export interface ReviewState {
  /** Hunks of this document that wait for a verdict. */
  count: number;
  /** Which of them is active, from 0. */
  active: number | null;
  /** Another document with hunks of the same turns. */
  elsewhere: { document: string; count: number } | null;
  busy: boolean;
  told: Told | null;
  /** For people who listen. */
  said: string;
  /** A turn of one's own that undo would rather take back than older typing. */
  offer: Turn | null;
}

const NOTHING: ReviewState = {
  count: 0,
  active: null,
  elsewhere: null,
  busy: false,
  told: null,
  said: "",
  offer: null,
};

export class ReviewDesk {
  readonly store: StoreApi<ReviewState> = createStore<ReviewState>(() => NOTHING);
  private view: EditorView | null = null;
  private document: string | null = null;
  private shown: readonly OpenHunk[] = [];
  /** The next change of the hunks follows from a verdict given here. */
  private advance = false;
  private wanted: string | null = null;
  /** Hunks whose verdict is on its way; one verdict is sent after the other. */
  private readonly deciding = new Set<string>();
  private decided: Promise<void> = Promise.resolve();
  /** Counts edits of this person, to know whether they have typed since. */
  private typed = 0;
  private ready = false;

  private readonly leave: (() => void)[];

  constructor(private readonly session: ProjectSession) {
    const leaveSession = session.store.subscribe((state, before) => {
      // The states of documents change with every keystroke, and only one thing in them counts here.
      const arrived = state.open !== before.open && !this.ready && this.isReady();
      if (state.turns !== before.turns || state.reviewVersion !== before.reviewVersion || arrived) {
        this.refresh();
      }
      if (state.turns !== before.turns) this.withdrawOffer();
    });
    this.leave = [leaveSession, settings.subscribe(() => this.refresh())];
  }

  destroy(): void {
    for (const leave of this.leave) leave();
  }

  show(document: string, view: EditorView): void {
    this.view = view;
    this.document = document;
    this.shown = [];
    this.wanted = null;
    this.store.setState(NOTHING);
    this.refresh();
  }

  hide(view: EditorView): void {
    if (this.view !== view) return;
    this.view = null;
    this.document = null;
    this.store.setState(NOTHING);
  }

  next(): void {
    if (this.view) nextHunk(this.view);
    this.view?.focus();
  }

  previous(): void {
    if (this.view) previousHunk(this.view);
    this.view?.focus();
  }

  judge(verdict: Verdict, all: boolean): void {
    if (!this.view) return;
    const accept = all ? acceptAll : acceptHunk;
    const reject = all ? rejectAll : rejectHunk;
    (verdict === "accept" ? accept : reject)(this.view);
  }

  /** Goes to a hunk as soon as its editor is there; false when it is not under review. */
  reveal(turn: string, hunk: string): boolean {
    const key = keyOf(turn, hunk);
    if (!this.view) return false;
    if (goToHunk(this.view, key)) {
      this.view.focus();
      return true;
    }
    this.wanted = key;
    return false;
  }

  /** The editor's review has changed. */
  readonly onChange = (view: EditorView): void => {
    if (view !== this.view) return;
    const review = view.state.field(reviewField);
    const active = review.active === null ? null : (review.positions.get(review.active) ?? null);
    const before = this.store.getState();
    this.store.setState({
      count: review.hunks.length,
      active,
      elsewhere: this.elsewhere(),
      ...(active === before.active && before.count === review.hunks.length
        ? {}
        : { said: this.sentence(view, active) }),
    });
  };

  /** A person has decided about hunks; they leave when the server says so. */
  readonly onVerdict = (verdict: Verdict, hunks: readonly ReviewHunk[]): void => {
    void this.decide(verdict, hunks);
  };

  /**
   * Undo right after one's own turn is about that turn. True when it is offered to reject it; asked
   * for again, it is about typing.
   */
  readonly beforeUndo = (): boolean => {
    if (this.store.getState().offer) {
      this.store.setState({ offer: null });
      this.session.forgetOwnTurn();
      return false;
    }
    const { ownTurn, turns } = this.session.store.getState();
    const turn = turns.find(({ id }) => id === ownTurn);
    const { document } = this;
    if (!turn || document === null || !isReviewable(turn) || !isOpenIn(turn, document))
      return false;
    const said = `Reject your turn “${turn.prompt}”? Press F6 to answer, or type on.`;
    this.store.setState({ offer: turn, told: null, said });
    return true;
  };

  /** The person types on: the cursor stays with them, whatever was to be shown or answered. */
  readonly onTyped = (): void => {
    this.typed += 1;
    this.advance = false;
    this.wanted = null;
    if (this.store.getState().offer) this.store.setState({ offer: null, said: "" });
  };

  /** Takes the offer, or leaves it; after that undo is about typing again. */
  async answerOffer(taken: boolean): Promise<void> {
    const { offer } = this.store.getState();
    this.store.setState({ offer: null });
    this.session.forgetOwnTurn();
    this.view?.focus();
    if (!offer || !taken) return;
    await this.run(() => this.session.rejectTurn(offer.id));
  }

  private withdrawOffer(): void {
    const { offer } = this.store.getState();
    if (!offer) return;
    const turn = this.session.store.getState().turns.find(({ id }) => id === offer.id);
    if (!turn || !isReviewable(turn)) this.store.setState({ offer: null });
  }

  private async decide(verdict: Verdict, hunks: readonly ReviewHunk[]): Promise<void> {
    const fresh = hunks.filter(({ key }) => !this.deciding.has(key));
    if (fresh.length === 0) return;
    const byTurn = new Map<string, string[]>();
    for (const { key, turn, hunk } of fresh) {
      this.deciding.add(key);
      byTurn.set(turn, [...(byTurn.get(turn) ?? []), hunk]);
    }
    this.advance = true;
    const { before, typed } = { before: this.decided, typed: this.typed };
    this.decided = (async () => {
      await before;
      this.advance = typed === this.typed;
      await this.run(async () => {
        for (const [turn, ids] of byTurn) await this.session.judgeHunks(verdict, turn, ids);
      });
      for (const { key } of fresh) this.deciding.delete(key);
    })();
    await this.decided;
  }

  private async run(act: () => Promise<void>): Promise<void> {
    this.store.setState({ busy: true, told: null });
    try {
      await act();
    } catch (error) {
      this.advance = false;
      this.store.setState({ told: explain(error) });
    } finally {
      this.store.setState({ busy: false });
    }
  }

  private isReady(): boolean {
    const { open } = this.session.store.getState();
    return this.document !== null && (open.get(this.document)?.hasText ?? false);
  }

  private refresh(): void {
    const { view, document } = this;
    if (!view || document === null) return;
    const { turns } = this.session.store.getState();
    this.ready = this.isReady();
    const hunks =
      this.ready && settings.getState().reviewShown
        ? this.session.reviews.open(document, turns)
        : [];
    const same =
      hunks.length === this.shown.length &&
      hunks.every(({ changes }, index) => changes === this.shown[index]?.changes);
    if (same) return;
    this.shown = hunks;
    const advance = this.advance;
    this.advance = false;
    setReview(
      view,
      hunks.map((each) => this.toHunk(each)),
      advance,
    );
    const { active } = view.state.field(reviewField);
    const go = this.wanted ?? (advance ? active : null);
    if (go !== null && goToHunk(view, go) && this.wanted !== null) {
      this.wanted = null;
      view.focus();
    }
  }

  private toHunk({ turn, changes }: OpenHunk): ReviewHunk {
    const { agents } = this.session.store.getState();
    return {
      key: keyOf(turn.id, changes.id),
      turn: turn.id,
      hunk: changes.id,
      agent: turn.agent_name ?? agents.get(turn.agent)?.name ?? "The agent",
      inserted: changes.inserted,
      deleted: changes.deleted,
    };
  }

  /** Where else the turns that are shown here have something to judge. */
  private elsewhere(): ReviewState["elsewhere"] {
    const { turns, documents } = this.session.store.getState();
    const shown = new Set(this.shown.map(({ turn }) => turn.id));
    const counts = new Map<string, { path: string; count: number }>();
    for (const turn of turns) {
      if (!shown.has(turn.id)) continue;
      for (const { document, state } of turn.hunks) {
        if (state !== "applied" || document === null || document === this.document) continue;
        const path = documents.get(document)?.path;
        if (path === undefined) continue;
        counts.set(document, { path, count: (counts.get(document)?.count ?? 0) + 1 });
      }
    }
    // The next one in the order of the list, and after the last the first.
    const here = documents.get(this.document ?? "")?.path ?? "";
    const others = [...counts].sort(([, a], [, b]) => (a.path < b.path ? -1 : 1));
    const next = others.find(([, { path }]) => path > here) ?? others[0];
    return next ? { document: next[0], count: next[1].count } : null;
  }

  private sentence(view: EditorView, active: number | null): string {
    const review = view.state.field(reviewField);
    const { length } = review.hunks;
    if (length === 0) return "No changes left to review in this file.";
    const hunk = active === null ? undefined : review.hunks[active];
    if (!hunk || active === null) {
      return length === 1 ? "One change to review." : `${length} changes to review.`;
    }
    const at = beginningOf(review, hunk.key) ?? 0;
    const line = view.state.doc.lineAt(Math.min(at, view.state.doc.length)).number;
    let added = "";
    review.inserted.between(at, view.state.doc.length, (from, to, value) => {
      if (value.spec.hunk === hunk.key) added += view.state.sliceDoc(from, to);
      return added.length < SPOKEN_UNITS ? undefined : false;
    });
    const removed = hunk.deleted.map(({ text }) => text).join("");
    const parts = [
      added ? `inserted: ${spoken(added)}` : "",
      removed ? `deleted: ${spoken(removed)}` : "",
    ].filter(Boolean);
    return `Change ${active + 1} of ${length}, line ${line}, ${parts.join("; ")}.`;
  }
}

function keyOf(turn: string, hunk: string): string {
  return `${turn}/${hunk}`;
}

function spoken(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > SPOKEN_UNITS ? `${line.slice(0, SPOKEN_UNITS)} and more` : line || "blanks";
}

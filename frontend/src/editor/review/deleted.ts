/** Deleted text, shown struck through where it was. */

import type { Range, Text } from "@codemirror/state";
import { Decoration, type EditorView, WidgetType } from "@codemirror/view";
import type { Removed } from "./placing.ts";

/** Of a longer deletion so many lines are shown before it is unfolded, and more where one is at it. */
const LINES_SHOWN = 4;
const ACTIVE_LINES_SHOWN = 60;

/** About the height of a line, until the browser has measured it. */
const LINE_PX = 22;

/** Hiding fewer lines than this would save no room. */
const LEAST_HIDDEN = 3;

/** Deletions that were unfolded stay so when they scroll out of sight and back. */
const unfolded = new Set<string>();

export class DeletedText extends WidgetType {
  constructor(
    readonly hunk: string,
    readonly text: string,
    readonly block: boolean,
    readonly active: boolean,
  ) {
    super();
  }

  override eq(other: DeletedText): boolean {
    return (
      other.hunk === this.hunk &&
      other.text === this.text &&
      other.block === this.block &&
      other.active === this.active
    );
  }

  override get estimatedHeight(): number {
    if (!this.block) return -1;
    const most = this.active ? ACTIVE_LINES_SHOWN : LINES_SHOWN;
    return Math.min(this.text.split("\n", most + 2).length, most + 1) * LINE_PX;
  }

  override toDOM(view: EditorView): HTMLElement {
    const place = document.createElement(this.block ? "div" : "span");
    place.className = `cm-deleted ${this.block ? "cm-deletedBlock" : "cm-deletedInline"}`;
    if (this.active) place.classList.add("cm-hunkActive");
    place.dataset.hunk = this.hunk;
    if (!this.block) {
      // A line break alone would be nothing to look at.
      place.append(struck(this.text === "\n" ? "↵" : this.text));
      return place;
    }
    const lines = this.text.replace(/\n$/, "").split("\n");
    const name = `${this.hunk} ${this.text.length}`;
    const fill = (shown: number) => {
      place.replaceChildren(...lines.slice(0, shown).map((line) => row(struck(line || " "))));
      const hidden = lines.length - shown;
      if (hidden <= 0) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "cm-deletedMore";
      button.textContent = `… ${hidden} more ${hidden === 1 ? "line" : "lines"}`;
      button.addEventListener("click", () => {
        unfolded.add(name);
        fill(lines.length);
        view.requestMeasure();
      });
      place.append(row(button));
    };
    const most = this.active ? ACTIVE_LINES_SHOWN : LINES_SHOWN;
    const folds = lines.length >= most + LEAST_HIDDEN && !unfolded.has(name);
    fill(folds ? most : lines.length);
    return place;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}

function struck(text: string): HTMLElement {
  const element = document.createElement("del");
  element.textContent = text;
  return element;
}

function row(content: HTMLElement): HTMLElement {
  const element = document.createElement("div");
  element.append(content);
  return element;
}

/** The decoration of a deletion: in its line, or above it when it was of several lines. */
export function deletedDecoration(
  doc: Text,
  hunk: string,
  removed: Removed,
  active: boolean,
): Range<Decoration> {
  const at = Math.min(removed.at, doc.length);
  const block = removed.text.length > 1 && removed.text.includes("\n");
  const widget = new DeletedText(hunk, removed.text, block, active);
  return block
    ? Decoration.widget({ widget, block: true, side: -1 }).range(doc.lineAt(at).from)
    : Decoration.widget({ widget, side: -1 }).range(at);
}

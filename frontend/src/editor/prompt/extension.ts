/**
 * A prompt at the selection. The editor only makes room for it; what is in the room belongs to
 * the page, which is told where to put it.
 */

import { type Extension, Facet, Prec, StateEffect, StateField } from "@codemirror/state";
import { EditorView, keymap, showTooltip, type Tooltip } from "@codemirror/view";

export interface PromptConfig {
  /** A place for the prompt has appeared in the page, or has gone. */
  onPlace: (place: HTMLElement | null) => void;
  /** Ctrl-I or Cmd-I was pressed. */
  onFocusPanel: () => void;
}

const config = Facet.define<PromptConfig, PromptConfig | null>({
  combine: (values) => values[0] ?? null,
});

const setOpen = StateEffect.define<boolean>();

const openAt = StateField.define<Tooltip | null>({
  create: () => null,
  update(tooltip, transaction) {
    let next = tooltip;
    if (next && transaction.docChanged) {
      next = { ...next, pos: transaction.changes.mapPos(next.pos) };
    }
    for (const effect of transaction.effects) {
      if (!effect.is(setOpen)) continue;
      const { main } = transaction.state.selection;
      next = effect.value
        ? { pos: main.from, above: true, strictSide: false, arrow: false, create: createPlace }
        : null;
    }
    return next;
  },
  provide: (field) => showTooltip.from(field),
});

function createPlace(view: EditorView) {
  const dom = document.createElement("div");
  dom.className = "cm-promptPlace";
  return {
    dom,
    mount: () => view.state.facet(config)?.onPlace(dom),
    destroy: () => view.state.facet(config)?.onPlace(null),
  };
}

/** Opens the prompt at the selection. */
export function openPrompt(view: EditorView): boolean {
  if (view.state.readOnly) return false;
  view.dispatch({ effects: setOpen.of(true) });
  return true;
}

/** Closes the prompt and gives the focus back to the text. */
export function closePrompt(view: EditorView): void {
  if (view.state.field(openAt, false)) view.dispatch({ effects: setOpen.of(false) });
  view.focus();
}

/** Ctrl-K or Cmd-K asks at the selection; Ctrl-I or Cmd-I goes to the panel. */
export function promptAtSelection(given: PromptConfig): Extension {
  return [
    config.of(given),
    openAt,
    Prec.highest(
      keymap.of([
        { key: "Mod-k", run: openPrompt, preventDefault: true },
        {
          key: "Mod-i",
          run: () => {
            given.onFocusPanel();
            return true;
          },
          preventDefault: true,
        },
      ]),
    ),
    EditorView.baseTheme({
      ".cm-tooltip:has(> .cm-promptPlace), .cm-tooltip.cm-promptPlace": {
        border: "none",
        background: "transparent",
        zIndex: "40",
      },
    }),
  ];
}

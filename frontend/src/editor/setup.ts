/** The whole editor: the ordered list of its features. */

import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  codeFolding,
  foldKeymap,
  indentOnInput,
  indentUnit,
} from "@codemirror/language";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import {
  crosshairCursor,
  drawSelection,
  dropCursor,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  placeholder,
  rectangularSelection,
  ViewPlugin,
} from "@codemirror/view";
import type { Awareness } from "y-protocols/awareness";
import { agentEdits } from "./agent-edits/extension.ts";
import { type AttributionConfig, attribution } from "./attribution/extension.ts";
import { type CollabConfig, collab, initialText } from "./collab/binding.ts";
import { languageOf } from "./languages/languages.ts";
import { type PromptConfig, promptAtSelection } from "./prompt/extension.ts";
import { remoteCursors } from "./remote-cursors/extension.ts";
import { type ReviewConfig, review } from "./review/extension.ts";
import { editorTheme } from "./theme/theme.ts";

export interface EditorConfig {
  parent: HTMLElement;
  path: string;
  collab: CollabConfig;
  awareness: Awareness;
  readOnly: boolean;
  prompt: PromptConfig;
  review: ReviewConfig;
  attribution: AttributionConfig;
  /** The nonce that the page's policy wants on style elements. */
  nonce: string;
  /** The selection moved or the text changed; called after the update, at most once per update. */
  onSelection: (view: EditorView) => void;
}

const access = new Compartment();
const language = new Compartment();
const hint = new Compartment();
const wrapping = new Compartment();
const searching = new Compartment();

/** Where long lines wrap, as there is no room to scroll sideways in. */
const narrow = matchMedia("(max-width: 767px)");

function wrappingNow(): Extension {
  return narrow.matches ? EditorView.lineWrapping : [];
}

const followWidth = ViewPlugin.define((view) => {
  const follow = () => view.dispatch({ effects: wrapping.reconfigure(wrappingNow()) });
  narrow.addEventListener("change", follow);
  return { destroy: () => narrow.removeEventListener("change", follow) };
});

/** Makes an editor on a synced text. Destroy it with `view.destroy()`. */
export function createEditor(config: EditorConfig): EditorView {
  const view = new EditorView({
    parent: config.parent,
    state: EditorState.create({
      doc: initialText(config.collab.text),
      extensions: [
        EditorView.cspNonce.of(config.nonce),
        access.of(accessOf(config.readOnly)),
        attribution(config.attribution),
        lineNumbers(),
        highlightActiveLineGutter(),
        highlightActiveLine(),
        highlightSpecialChars(),
        drawSelection(),
        dropCursor(),
        rectangularSelection(),
        crosshairCursor(),
        EditorState.allowMultipleSelections.of(true),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        codeFolding(),
        searching.of([]),
        language.of([]),
        wrapping.of(wrappingNow()),
        followWidth,
        hint.of(placeholderOf(config.readOnly)),
        collab(config.collab),
        remoteCursors(config.awareness),
        agentEdits(),
        review(config.review),
        promptAtSelection(config.prompt),
        editorTheme(),
        keymap.of([
          ...closeBracketsKeymap,
          ...foldKeymap,
          ...defaultKeymap.filter((binding) => binding.key !== "Mod-i"),
          indentWithTab,
        ]),
        EditorView.updateListener.of((update) => {
          if (update.selectionSet || update.docChanged) config.onSelection(update.view);
        }),
      ],
    }),
  });
  void setLanguage(view, config.path);
  void addSearch(view);
  return view;
}

/** Text is there before it can be searched; nobody needs both at the same moment. */
async function addSearch(view: EditorView): Promise<void> {
  try {
    const { highlightSelectionMatches, search, searchKeymap } = await import("@codemirror/search");
    if (!view.dom.isConnected) return;
    view.dispatch({
      effects: searching.reconfigure([
        highlightSelectionMatches({ wholeWords: true }),
        search({ top: true }),
        keymap.of(searchKeymap.filter((binding) => binding.key !== "Mod-Alt-g")),
      ]),
    });
  } catch {
    // Without a connection the browser's own search has to do.
  }
}

/** Lets the person type, or not. */
export function setReadOnly(view: EditorView, readOnly: boolean): void {
  if (view.state.readOnly === readOnly) return;
  view.dispatch({
    effects: [access.reconfigure(accessOf(readOnly)), hint.reconfigure(placeholderOf(readOnly))],
  });
}

/** Loads the language of a path; a file without one stays plain. */
export async function setLanguage(view: EditorView, path: string): Promise<void> {
  const found = languageOf(path);
  let support: Extension = [];
  try {
    support = found ? [indentUnit.of(found.indent), await found.load()] : [];
  } catch {
    // Without its grammar a file is shown plain; offline, say, with a language never used here.
  }
  if (view.dom.isConnected) {
    view.dispatch({
      effects: [
        language.reconfigure([
          support,
          EditorView.contentAttributes.of({ "aria-label": `Text of ${path}` }),
        ]),
      ],
    });
  }
}

function accessOf(readOnly: boolean): Extension {
  return readOnly
    ? [
        EditorState.readOnly.of(true),
        EditorView.editable.of(false),
        EditorView.contentAttributes.of({ tabindex: "0", "aria-readonly": "true" }),
      ]
    : [];
}

function placeholderOf(readOnly: boolean): Extension {
  if (readOnly) return placeholder("Nothing here yet.");
  const keyboard = matchMedia("(pointer: fine) and (min-width: 768px)").matches;
  return placeholder(
    keyboard ? "Type or paste here, or press Ctrl K to ask the agent" : "Type or paste here",
  );
}

/** The editor's look. All colors are variables of the page, so the theme switches with it. */

import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags as t } from "@lezer/highlight";

const look = EditorView.theme({
  "&": {
    height: "100%",
    color: "var(--ink)",
    backgroundColor: "var(--surface)",
    fontSize: "var(--editor-size, 13.5px)",
  },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": {
    fontFamily: "var(--font-mono)",
    lineHeight: "1.6",
    overscrollBehavior: "contain",
  },
  ".cm-content": { padding: "20px 0 40vh", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 20px 0 10px" },
  ".cm-gutters": {
    backgroundColor: "var(--surface)",
    color: "var(--ink-faint)",
    border: "none",
    paddingLeft: "10px",
    userSelect: "none",
  },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 8px 0 12px", minWidth: "36px" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--ink-muted)" },
  ".cm-activeLine": { backgroundColor: "var(--line-active)" },
  ".cm-cursor, .cm-dropCursor": { borderLeft: "2px solid var(--accent)", marginLeft: "-1px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    { backgroundColor: "var(--selection)" },
  "&.cm-focused .cm-matchingBracket, .cm-matchingBracket": {
    backgroundColor: "var(--bracket)",
    outline: "1px solid var(--bracket-line)",
    borderRadius: "2px",
  },
  "&.cm-focused .cm-nonmatchingBracket": { backgroundColor: "transparent", color: "var(--danger)" },
  ".cm-searchMatch": { backgroundColor: "var(--match)", borderRadius: "2px" },
  ".cm-searchMatch-selected": { backgroundColor: "var(--match-strong)" },
  ".cm-selectionMatch": { backgroundColor: "var(--match-soft)" },
  ".cm-foldPlaceholder": {
    background: "var(--raised)",
    border: "1px solid var(--line)",
    color: "var(--ink-muted)",
    padding: "0 6px",
    borderRadius: "4px",
  },
  ".cm-placeholder": { color: "var(--ink-faint)" },
  ".cm-agentText": {
    backgroundColor: "var(--agent-soft)",
    boxShadow: "inset 0 -1px 0 var(--agent-line)",
  },
  ".cm-agentText-fading": {
    backgroundColor: "transparent",
    boxShadow: "inset 0 -1px 0 transparent",
    transition: "background-color 1200ms ease, box-shadow 1200ms ease",
  },
  ".cm-hunkFlash": { backgroundColor: "var(--match)", borderRadius: "2px" },
  ".cm-panels": { backgroundColor: "var(--surface)", color: "var(--ink)" },
  ".cm-panels-top": { borderBottom: "1px solid var(--line)" },
  ".cm-panel.cm-search": {
    padding: "8px 40px 8px 12px",
    fontFamily: "var(--font-sans)",
    fontSize: "13px",
    display: "flex",
    flexWrap: "wrap",
    alignItems: "center",
    gap: "6px",
  },
  ".cm-panel.cm-search br": { display: "none" },
  ".cm-panel.cm-search label": {
    display: "inline-flex",
    alignItems: "center",
    gap: "5px",
    margin: "0 6px 0 2px",
    fontSize: "12px",
    color: "var(--ink-muted)",
  },
  ".cm-panel.cm-search input[type=checkbox]": {
    appearance: "none",
    width: "14px",
    height: "14px",
    margin: "0",
    border: "1px solid var(--line-strong)",
    borderRadius: "4px",
    background: "var(--surface)",
  },
  ".cm-panel.cm-search input[type=checkbox]:checked": {
    background: "var(--accent)",
    borderColor: "var(--accent)",
    boxShadow: "inset 0 0 0 2px var(--surface)",
  },
  ".cm-textfield": {
    margin: "0",
    padding: "4px 8px",
    minWidth: "160px",
    border: "1px solid var(--line-strong)",
    borderRadius: "6px",
    background: "var(--raised)",
    color: "var(--ink)",
    font: "400 13px/20px var(--font-sans)",
  },
  ".cm-button": {
    margin: "0",
    padding: "4px 10px",
    border: "1px solid var(--line)",
    borderRadius: "6px",
    background: "var(--raised)",
    backgroundImage: "none",
    color: "var(--ink)",
    font: "500 12px/20px var(--font-sans)",
    textTransform: "capitalize",
    cursor: "pointer",
  },
  ".cm-button:hover": { background: "var(--hover)" },
  ".cm-button:active": { backgroundImage: "none", background: "var(--hover)" },
  ".cm-panel.cm-search [name=close]": {
    position: "absolute",
    top: "8px",
    right: "10px",
    width: "28px",
    height: "28px",
    margin: "0",
    borderRadius: "6px",
    color: "var(--ink-muted)",
    fontSize: "18px",
    cursor: "pointer",
  },
  ".cm-panel.cm-search [name=close]:hover": { background: "var(--hover)" },
  ".cm-tooltip": {
    border: "1px solid var(--line)",
    borderRadius: "8px",
    backgroundColor: "var(--raised)",
    color: "var(--ink)",
  },
});

const highlight = HighlightStyle.define([
  {
    tag: [t.comment, t.lineComment, t.blockComment, t.docComment],
    color: "var(--code-comment)",
    fontStyle: "italic",
  },
  {
    tag: [t.keyword, t.controlKeyword, t.moduleKeyword, t.operatorKeyword, t.definitionKeyword],
    color: "var(--code-keyword)",
  },
  { tag: [t.string, t.special(t.string), t.character, t.docString], color: "var(--code-string)" },
  { tag: [t.number, t.bool, t.null, t.atom, t.self], color: "var(--code-number)" },
  {
    tag: [
      t.function(t.variableName),
      t.function(t.propertyName),
      t.function(t.definition(t.variableName)),
      t.macroName,
    ],
    color: "var(--code-function)",
  },
  {
    tag: [t.typeName, t.className, t.namespace, t.standard(t.typeName)],
    color: "var(--code-type)",
  },
  { tag: [t.propertyName, t.attributeName, t.labelName], color: "var(--code-property)" },
  { tag: [t.tagName, t.angleBracket], color: "var(--code-keyword)" },
  { tag: [t.regexp, t.escape, t.special(t.brace)], color: "var(--code-escape)" },
  { tag: [t.meta, t.annotation, t.processingInstruction], color: "var(--code-meta)" },
  {
    tag: [t.operator, t.punctuation, t.separator, t.bracket, t.derefOperator],
    color: "var(--code-punctuation)",
  },
  { tag: t.heading, color: "var(--code-function)", fontWeight: "650" },
  { tag: t.strong, fontWeight: "650" },
  { tag: t.emphasis, fontStyle: "italic" },
  { tag: [t.link, t.url], color: "var(--code-property)", textDecoration: "underline" },
  { tag: t.monospace, color: "var(--code-string)" },
  { tag: t.strikethrough, textDecoration: "line-through" },
  { tag: t.invalid, color: "var(--danger)" },
]);

/** Colors, sizes and syntax. */
export function editorTheme(): Extension {
  return [look, syntaxHighlighting(highlight)];
}

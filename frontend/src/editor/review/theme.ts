import { EditorView } from "@codemirror/view";

/** How hunks under review look: told apart by line and strike as well as by color. */
export const reviewTheme = EditorView.baseTheme({
  ".cm-inserted": {
    textDecoration: "none",
    backgroundColor: "var(--inserted)",
    boxShadow: "inset 0 -1px 0 var(--agent-line)",
  },
  // The active hunk has the stronger line: more color behind it would make its text hard to read.
  ".cm-inserted.cm-hunkActive": { boxShadow: "inset 0 -2px 0 var(--inserted-line)" },
  // What has just been written is marked once, not twice.
  ".cm-agentText .cm-inserted, .cm-inserted .cm-agentText": { backgroundColor: "transparent" },
  ".cm-deleted": { color: "var(--danger)", userSelect: "none" },
  ".cm-deleted del": {
    textDecoration: "line-through",
    textDecorationThickness: "1px",
    backgroundColor: "var(--danger-soft)",
    borderRadius: "2px",
    whiteSpace: "pre-wrap",
  },
  ".cm-deletedInline": { marginRight: "1px" },
  ".cm-deletedBlock": {
    padding: "0 20px 0 10px",
    backgroundColor: "var(--danger-soft)",
    borderLeft: "2px solid var(--danger-line)",
    marginLeft: "-2px",
    cursor: "default",
  },
  ".cm-deletedBlock del": { backgroundColor: "transparent" },
  ".cm-deleted.cm-hunkActive": {
    outline: "1px solid var(--danger)",
    outlineOffset: "-1px",
    borderRadius: "2px",
  },
  ".cm-deletedMore": {
    color: "var(--danger)",
    font: "500 12px/1.8 var(--font-sans)",
    textDecoration: "underline",
    textUnderlineOffset: "2px",
  },
});

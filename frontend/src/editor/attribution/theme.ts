import { EditorView } from "@codemirror/view";

/** A person's bar is solid and an agent's is broken, so that color is not the only sign. */
export const attributionTheme = EditorView.baseTheme({
  ".cm-authors": { width: "11px", cursor: "help" },
  ".cm-authors .cm-gutterElement": { padding: "0 3px" },
  ".cm-authorBar": { display: "flex", gap: "1px", height: "100%", width: "5px" },
  ".cm-author": { flex: "1", maxWidth: "3px", background: "var(--author)" },
  ".cm-author-agent": {
    background: "repeating-linear-gradient(to bottom, var(--author) 0 4px, transparent 4px 6px)",
  },
  ".cm-tooltip:has(> .cm-authorCard), .cm-tooltip.cm-authorCard": {
    border: "1px solid var(--line)",
    borderRadius: "10px",
    background: "var(--raised)",
    boxShadow: "var(--shadow)",
    zIndex: "35",
  },
  ".cm-authorCard": {
    maxWidth: "min(340px, 80vw)",
    padding: "8px 12px",
    font: "400 13px/1.45 var(--font-sans)",
    color: "var(--ink)",
    display: "flex",
    flexDirection: "column",
    gap: "8px",
  },
  ".cm-authorEntry": { display: "flex", gap: "9px" },
  ".cm-authorEntry > .cm-author": { flex: "none", width: "3px", borderRadius: "2px" },
  ".cm-authorEntry strong": { fontWeight: "600" },
  ".cm-authorEntry span:not(.cm-author)": { color: "var(--ink-muted)" },
  ".cm-authorEntry p": {
    color: "var(--ink-muted)",
    display: "-webkit-box",
    WebkitLineClamp: "4",
    WebkitBoxOrient: "vertical",
    overflow: "hidden",
    overflowWrap: "anywhere",
  },
});

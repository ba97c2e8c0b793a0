import { EditorView } from "@codemirror/view";

/** How other peers look; `--peer` is each one's own color. */
export const remoteCursorsTheme = EditorView.baseTheme({
  ".cm-peerSelections, .cm-peerCarets": { pointerEvents: "none" },
  ".cm-peerSelection": {
    background: "color-mix(in oklab, var(--peer) 24%, transparent)",
    borderRadius: "2px",
  },
  ".cm-peerCaret": {
    width: "2px !important",
    marginLeft: "-1px",
    borderRadius: "1px",
    background: "var(--peer)",
    transition: "left 60ms linear, top 60ms linear",
  },
  ".cm-peerCaret::after": {
    content: "''",
    position: "absolute",
    top: "-3px",
    left: "-2px",
    width: "6px",
    height: "6px",
    borderRadius: "50%",
    background: "var(--peer)",
  },
  ".cm-peerName": {
    position: "absolute",
    bottom: "100%",
    left: "-1px",
    padding: "1px 6px",
    borderRadius: "5px 5px 5px 0",
    background: "var(--peer)",
    color: "#fff",
    textShadow: "0 0 2px rgb(0 0 0 / 0.45)",
    font: "600 11px/16px var(--font-sans)",
    whiteSpace: "nowrap",
    maxWidth: "180px",
    overflow: "hidden",
    textOverflow: "ellipsis",
    opacity: "0",
    transition: "opacity 200ms ease",
    zIndex: "1",
  },
  ".cm-peerCaret-below .cm-peerName": {
    bottom: "auto",
    top: "100%",
    borderRadius: "0 5px 5px 5px",
  },
  ".cm-peerCaret-named .cm-peerName": { opacity: "1" },
  ".cm-peerCaret-agent .cm-peerName::before": { content: "'✦ '" },
  "@media (prefers-reduced-motion: reduce)": {
    ".cm-peerCaret, .cm-peerName": { transition: "none" },
  },
});

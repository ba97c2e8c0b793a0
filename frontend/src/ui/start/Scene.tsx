import { cx } from "../parts/cx.ts";

type Piece = string | [kind: string, text: string];

const LINES: Piece[][] = [
  [["keyword", "def "], ["function", "total"], "(items, rate):"],
  ["    ", ["string", '"""The sum of a basket, with tax."""']],
  [
    "    subtotal = ",
    ["function", "sum"],
    "(item.price ",
    ["keyword", "for "],
    "item ",
    ["keyword", "in "],
    "items)",
  ],
  ["    ", ["keyword", "if "], "subtotal > ", ["number", "100"], ":"],
  ["        subtotal *= ", ["number", "0.9"]],
  ["    ", ["keyword", "return "], "subtotal * (", ["number", "1"], " + rate)"],
];

const COLORS: Record<string, string> = {
  keyword: "var(--code-keyword)",
  function: "var(--code-function)",
  string: "var(--code-string)",
  number: "var(--code-number)",
};

/** Who is where in the picture: line and column. */
const PEERS = [
  { line: 1, column: 40, name: "Spark", color: "#0b766f", agent: true },
  { line: 3, column: 21, name: "Ada", color: "#c2410c", agent: false },
  { line: 5, column: 31, name: "Linus", color: "#6d28d9", agent: false },
];

/** A still picture of what the product does. */
export function Scene() {
  return (
    <div
      aria-hidden="true"
      className="relative hidden overflow-hidden rounded-2xl border border-line bg-surface shadow-pop select-none lg:block"
    >
      <div className="flex items-center justify-between border-b border-line px-4 py-2.5">
        <span className="font-mono text-[12px] text-muted">basket.py</span>
        <span className="flex items-center gap-1.5 text-[12px] text-faint">
          <span className="size-1.5 rounded-full bg-accent" /> 2 people and an agent
        </span>
      </div>
      <div className="relative px-5 py-6 font-mono text-[13px] leading-[30px]">
        {LINES.map((line, number) => (
          <div
            // biome-ignore lint/suspicious/noArrayIndexKey: the picture never changes.
            key={number}
            className={cx("whitespace-pre", number === 1 && "-mx-5 bg-[var(--agent-soft)] px-5")}
          >
            <span className="mr-5 inline-block w-3 text-right text-faint">{number + 1}</span>
            {line.map((piece, index) =>
              typeof piece === "string" ? (
                piece
              ) : (
                // biome-ignore lint/suspicious/noArrayIndexKey: the picture never changes.
                <span key={index} style={{ color: COLORS[piece[0]] }}>
                  {piece[1]}
                </span>
              ),
            )}
          </div>
        ))}
        {PEERS.map((peer) => (
          <span
            key={peer.name}
            className="absolute h-[22px] w-0.5"
            style={{
              background: peer.color,
              top: `${24 + peer.line * 30 + 4}px`,
              left: `calc(20px + 32px + ${peer.column}ch)`,
            }}
          >
            <span
              className="absolute bottom-full left-0 rounded-[5px_5px_5px_0] px-1.5 font-sans text-[11px] leading-[17px] font-semibold whitespace-nowrap text-white"
              style={{ background: peer.color }}
            >
              {peer.agent ? "✦ " : ""}
              {peer.name}
            </span>
          </span>
        ))}
      </div>
    </div>
  );
}

import {
  Check,
  ChevronRight,
  CornerDownRight,
  type LucideProps,
  Square,
  Undo2,
} from "lucide-react";
import { memo, type ReactNode, useEffect, useState } from "react";
import { explain, explainCode, type Told } from "../../core/errors.ts";
import type { Hunk, Turn } from "../../core/protocol.ts";
import { byFile, isLive, isReviewable, type TurnFile, totals } from "../../state/turns.ts";
import { Avatar } from "../parts/Avatar.tsx";
import { Button } from "../parts/Button.tsx";
import { cx } from "../parts/cx.ts";
import { ago } from "../parts/time.ts";
import { Answer } from "./Answer.tsx";
import { useMayEdit, useSession, useSessionState, useWorkbench } from "./context.ts";

/** More hunks than this are folded away. */
const HUNKS_SHOWN = 5;

/** One prompt and everything that came of it. */
export const TurnCard = memo(function TurnCard({ turn }: { turn: Turn }) {
  const agent = useSessionState((state) => state.agents.get(turn.agent));
  const live = isLive(turn);
  return (
    <article
      aria-label={`Turn: ${turn.prompt}`}
      data-turn={turn.id}
      data-status={turn.status}
      data-review={turn.review}
      className="flex flex-col gap-3 border-b border-line px-4 py-4 last:border-b-0"
    >
      <Prompt turn={turn} />
      <div className="flex items-center gap-2 text-[12.5px] text-muted">
        <Avatar
          name={turn.agent_name ?? agent?.name ?? "Agent"}
          color={agent?.color ?? "#6b7280"}
          kind="agent"
          size={18}
          busy={live}
        />
        <Status turn={turn} name={turn.agent_name ?? agent?.name ?? "The agent"} />
      </div>
      {turn.answer ? <Answer text={turn.answer} live={turn.status === "running"} /> : null}
      {turn.error ? <TurnError error={turn.error} /> : null}
      {turn.hunks.length > 0 ? <Files turn={turn} /> : null}
      <Review turn={turn} />
    </article>
  );
});

function Prompt({ turn }: { turn: Turn }) {
  const member = useSessionState((state) => state.members.get(turn.by));
  const you = useSessionState((state) => state.you?.id === turn.by);
  const name = you ? "You" : (member?.name ?? "Somebody who left");
  return (
    <div className="flex gap-2.5">
      <Avatar name={member?.name ?? "?"} color={member?.color ?? "#6b7280"} size={22} />
      <div className="min-w-0 flex-1">
        <p className="flex items-baseline gap-2 text-[12.5px]">
          <span className="truncate font-medium">{name}</span>
          <Ago moment={turn.created_at} />
        </p>
        <p className="text-[14px] leading-snug whitespace-pre-wrap [overflow-wrap:anywhere]">
          {turn.prompt}
        </p>
      </div>
    </div>
  );
}

/** A moment in words that stay true. */
function Ago({ moment }: { moment: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((count) => count + 1), 30_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <time dateTime={moment} className="shrink-0 text-xs text-faint">
      {ago(moment)}
    </time>
  );
}

function Status({ turn, name }: { turn: Turn; name: string }) {
  const { applied } = totals(turn);
  const edits = applied === 1 ? "1 edit" : `${applied} edits`;
  const reading = useSessionState((state) =>
    state.peers.some((peer) => peer.id === turn.agent && peer.status === "reading"),
  );
  let words: string;
  switch (turn.status) {
    case "queued":
      words = `${name} is next`;
      break;
    case "running":
      words =
        applied > 0
          ? `${name} is writing, ${edits}`
          : `${name} is ${reading ? "reading" : "thinking"}`;
      break;
    case "done":
      words = applied > 0 ? `${name} made ${edits}` : `${name} answered`;
      break;
    case "interrupted":
      words = applied > 0 ? `Stopped after ${edits}` : "Stopped";
      break;
    case "failed":
      words = applied > 0 ? `Failed after ${edits}` : "Failed";
      break;
  }
  return (
    <>
      <span className={cx("min-w-0 flex-1 truncate", turn.status === "failed" && "text-danger")}>
        {words}
        <TokensPerTurn turn={turn} />
      </span>
      <Stop turn={turn} />
    </>
  );
}

function TokensPerTurn({ turn }: { turn: Turn }) {
  const tokens = turn.usage?.output_tokens ?? 0;
  if (tokens === 0 || isLive(turn)) return null;
  return <span className="text-faint"> · {tokens.toLocaleString("en")} tokens</span>;
}

function StopSign({ size, ...rest }: LucideProps) {
  return <Square {...rest} size={Number(size ?? 15) - 4} fill="currentColor" />;
}

function Stop({ turn }: { turn: Turn }) {
  const session = useSession();
  const mayEdit = useMayEdit();
  const [stopping, setStopping] = useState(false);
  if (!isLive(turn) || !mayEdit) return null;
  return (
    <Button
      size="small"
      icon={StopSign}
      disabled={stopping}
      onClick={() => {
        setStopping(true);
        // A turn that ended meanwhile says so by itself.
        session.interruptTurn(turn.id).catch(() => setStopping(false));
      }}
    >
      {stopping ? "Stopping" : "Stop"}
    </Button>
  );
}

function TurnError({ error }: { error: { code: string; detail: string } }) {
  const told = explainCode(error.code, error.detail);
  return (
    <div className="rounded-lg border border-danger-line bg-danger-soft px-3 py-2 text-[12.5px]">
      <p className="font-medium text-danger">{error.detail || told.title}</p>
      {told.action ? <p className="text-muted">{told.action}</p> : null}
    </div>
  );
}

/** What a turn changed: its hunks, by file where there are several. */
function Files({ turn }: { turn: Turn }) {
  const files = byFile(turn);
  const [only] = files;
  return (
    <ul className="overflow-hidden rounded-xl border border-line bg-raised">
      {files.length === 1 && only ? (
        <Hunks turn={turn.id} hunks={only.hunks} />
      ) : (
        files.map((file) => <FileRow key={file.path} turn={turn.id} file={file} />)
      )}
    </ul>
  );
}

/** One file of a turn that changed several. */
function FileRow({ turn, file }: { turn: string; file: TurnFile }) {
  const workbench = useWorkbench();
  const [open, setOpen] = useState(false);
  const first = file.hunks.find((hunk) => hunk.state !== "missed") ?? file.hunks[0];
  const path = useSessionState(({ documents }) => {
    const document = first?.document ?? null;
    return document === null ? null : (documents.get(document)?.path ?? null);
  });
  const shown = path ?? file.path;
  const cut = shown.lastIndexOf("/") + 1;
  const count = file.hunks.length === 1 ? "1 change" : `${file.hunks.length} changes`;
  return (
    <li className="border-b border-line last:border-b-0" data-file={shown}>
      <div className="flex items-center">
        <button
          type="button"
          aria-expanded={open}
          aria-label={`${open ? "Hide" : "List"} the changes in ${shown}`}
          onClick={() => setOpen(!open)}
          className="flex h-8 w-8 shrink-0 items-center justify-center text-faint -outline-offset-2 hover:bg-hover hover:text-ink"
        >
          <ChevronRight
            size={14}
            aria-hidden="true"
            className={cx("transition-transform", open && "rotate-90")}
          />
        </button>
        <button
          type="button"
          disabled={path === null || !first}
          onClick={() => first && workbench.reveal(turn, first)}
          aria-label={`Open ${shown}, ${count}, ${file.inserted} characters in, ${file.deleted} out`}
          className="flex h-8 min-w-0 flex-1 items-center gap-2 pr-3 text-left text-[12.5px] -outline-offset-2 enabled:hover:bg-hover"
        >
          <span className="min-w-0 flex-1 truncate font-mono text-[12px]">
            <span className="text-muted">{shown.slice(0, cut)}</span>
            {shown.slice(cut)}
          </span>
          <Verdicts hunks={file.hunks} />
          <Counts inserted={file.inserted} deleted={file.deleted} />
        </button>
      </div>
      {open ? (
        <ul className="border-t border-line bg-paper">
          <Hunks turn={turn} hunks={file.hunks} />
        </ul>
      ) : null}
    </li>
  );
}

/** What was decided about a file's hunks, where that can be said in a word. */
function Verdicts({ hunks }: { hunks: readonly Hunk[] }) {
  const open = hunks.filter((hunk) => hunk.state === "applied").length;
  const missed = hunks.filter((hunk) => hunk.state === "missed").length;
  if (missed > 0) return <Tag tone="warn">{missed} not placed</Tag>;
  if (open > 0) return null;
  if (hunks.every((hunk) => hunk.state === "accepted")) return <Tag>accepted</Tag>;
  if (hunks.every((hunk) => hunk.state === "rejected")) return <Tag>rejected</Tag>;
  return <Tag>reviewed</Tag>;
}

function Counts({ inserted, deleted }: { inserted: number; deleted: number }) {
  return (
    <span className="shrink-0 font-mono text-[11.5px] tabular-nums">
      {inserted > 0 ? <span className="text-accent">+{inserted}</span> : null}
      {deleted > 0 ? <span className="ml-1.5 text-danger">−{deleted}</span> : null}
    </span>
  );
}

function Hunks({ turn, hunks }: { turn: string; hunks: readonly Hunk[] }) {
  const [all, setAll] = useState(false);
  const shown = all ? hunks : hunks.slice(0, HUNKS_SHOWN);
  const rest = hunks.length - shown.length;
  return (
    <>
      {shown.map((hunk) => (
        <HunkRow key={hunk.id} turn={turn} hunk={hunk} />
      ))}
      {rest > 0 || (all && hunks.length > HUNKS_SHOWN) ? (
        <li>
          <button
            type="button"
            onClick={() => setAll(!all)}
            className="w-full px-3 py-1.5 text-left text-[12.5px] text-muted -outline-offset-2 hover:bg-hover hover:text-ink"
          >
            {all ? "Show fewer" : `Show ${rest} more`}
          </button>
        </li>
      ) : null}
    </>
  );
}

function HunkRow({ turn, hunk }: { turn: string; hunk: Hunk }) {
  const workbench = useWorkbench();
  const path = useSessionState(({ documents }) =>
    hunk.document === null ? null : (documents.get(hunk.document)?.path ?? null),
  );
  const name = (path ?? hunk.path).split("/").at(-1) || "a file";
  const place = hunk.line === null ? name : `${name}:${hunk.line}`;
  if (hunk.state === "missed") {
    return (
      <li className="flex flex-col border-b border-line px-3 py-2 text-[12.5px] last:border-b-0">
        <span className="flex items-center gap-2">
          <span className="min-w-0 flex-1 truncate font-mono text-[12px]">{place}</span>
          <Tag tone="warn">not placed</Tag>
        </span>
        {hunk.reason ? <span className="mt-0.5 text-muted">{hunk.reason}</span> : null}
      </li>
    );
  }
  const gone = hunk.state === "rejected" || hunk.state === "reverted";
  return (
    <li className="border-b border-line last:border-b-0">
      <button
        type="button"
        disabled={path === null}
        onClick={() => workbench.reveal(turn, hunk)}
        aria-label={`Show ${place}, ${hunk.inserted} characters in, ${hunk.deleted} out`}
        className="group flex w-full items-center gap-2 px-3 py-1.5 text-left text-[12.5px] -outline-offset-2 enabled:hover:bg-hover"
      >
        <CornerDownRight
          size={13}
          aria-hidden="true"
          className="shrink-0 text-faint group-hover:text-accent"
        />
        <span
          className={cx(
            "min-w-0 flex-1 truncate font-mono text-[12px]",
            gone && "line-through opacity-60",
          )}
        >
          {place}
        </span>
        {hunk.state === "accepted" ? <Tag>accepted</Tag> : null}
        {gone ? (
          <Tag>{hunk.state === "rejected" ? "rejected" : "taken back"}</Tag>
        ) : (
          <Counts inserted={hunk.inserted} deleted={hunk.deleted} />
        )}
      </button>
    </li>
  );
}

function Tag({ tone, children }: { tone?: "warn"; children: ReactNode }) {
  return (
    <span
      className={cx(
        "shrink-0 rounded-md px-1.5 py-px text-[11px] font-medium",
        tone === "warn" ? "bg-warn-soft text-warn" : "bg-sunken text-muted",
      )}
    >
      {children}
    </span>
  );
}

/** Accept what the turn did, or reject it. */
function Review({ turn }: { turn: Turn }) {
  const session = useSession();
  const mayEdit = useMayEdit();
  const [busy, setBusy] = useState(false);
  const [told, setTold] = useState<Told | null>(null);

  if (turn.review === "rejected") {
    return <Verdict icon={Undo2}>Rejected; what people typed has stayed</Verdict>;
  }
  const kept = turn.review === "accepted";
  const mixed = turn.review === "mixed";
  const verdict = kept ? "Accepted" : mixed ? "Accepted in part" : null;
  if (!mayEdit) return verdict ? <Verdict icon={Check}>{verdict}</Verdict> : null;
  if (verdict === null && !isReviewable(turn)) return null;
  const decide = async (verdict: (turn: string) => Promise<void>) => {
    setBusy(true);
    setTold(null);
    try {
      await verdict(turn.id);
    } catch (error) {
      setTold(explain(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="flex flex-col gap-2">
      <div className="flex flex-wrap items-center gap-2">
        {verdict !== null ? (
          <Verdict icon={Check}>{verdict}</Verdict>
        ) : (
          <Button
            size="small"
            icon={Check}
            className="max-[720px]:h-10"
            disabled={busy}
            onClick={() => void decide((id) => session.acceptTurn(id))}
          >
            Accept whole turn
          </Button>
        )}
        <Button
          size="small"
          look="quiet"
          icon={Undo2}
          className="max-[720px]:h-10"
          disabled={busy}
          onClick={() => void decide((id) => session.rejectTurn(id))}
        >
          Reject whole turn
        </Button>
      </div>
      {told ? <p className="text-xs text-danger">{told.title}</p> : null}
    </div>
  );
}

function Verdict({ icon: Icon, children }: { icon: typeof ChevronRight; children: ReactNode }) {
  return (
    <p className="flex items-center gap-1.5 text-[12.5px] text-muted">
      <Icon size={14} aria-hidden="true" />
      {children}
    </p>
  );
}

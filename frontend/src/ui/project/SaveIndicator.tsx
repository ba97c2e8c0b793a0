import { Check, CloudOff, LoaderCircle, type LucideIcon, TriangleAlert } from "lucide-react";
import { useEffect, useState } from "react";
import type { Connection } from "../../state/session-state.ts";
import { cx } from "../parts/cx.ts";
import { useLasting } from "../parts/lasting.ts";
import { clock } from "../parts/time.ts";
import { UNSAVED_SHOWN_AFTER_MS } from "./Banners.tsx";
import { useMayEdit, useSessionState } from "./context.ts";

/** A commit takes a few milliseconds; shorter ones than this would only make the word flicker. */
const SAVING_SHOWN_AFTER_MS = 150;

interface Shown {
  word: string;
  detail: string;
  icon: LucideIcon;
  tone: string;
  spin?: boolean;
}

function shown(
  connection: Connection,
  unsaved: number,
  mayEdit: boolean,
  since: number | null,
): Shown {
  const changes = unsaved === 1 ? "1 change" : `${unsaved} changes`;
  if (connection === "connecting") {
    return {
      word: "Connecting",
      detail: "The page is connecting to the server",
      icon: LoaderCircle,
      tone: "text-muted",
      spin: true,
    };
  }
  if (connection === "offline") {
    return {
      word: unsaved > 0 ? `Offline, ${changes} not saved` : "Offline",
      detail:
        unsaved > 0
          ? `${changes} since ${clock(since)} wait to be sent`
          : "Everything you typed before the connection broke is saved",
      icon: CloudOff,
      tone: "text-warn",
    };
  }
  if (since !== null && unsaved > 0) {
    return {
      word: `Not saved since ${clock(since)}`,
      detail: `The server has not confirmed ${changes} since ${clock(since)}`,
      icon: TriangleAlert,
      tone: "text-warn",
    };
  }
  if (unsaved > 0) {
    return {
      word: "Saving",
      detail: "The server has not confirmed your last changes yet",
      icon: LoaderCircle,
      tone: "text-muted",
      spin: true,
    };
  }
  return mayEdit
    ? {
        word: "Saved",
        detail: "The server has written everything you typed to its disk",
        icon: Check,
        tone: "text-muted",
      }
    : { word: "Live", detail: "You see changes as they happen", icon: Check, tone: "text-muted" };
}

/** Says whether what was typed is stored; the server's acknowledgements decide. */
export function SaveIndicator() {
  const connection = useSessionState((state) => state.connection);
  const unsaved = useSettled(useSessionState((state) => state.unsaved));
  const mayEdit = useMayEdit();
  const since = useSessionState((state) => state.unsavedSince);
  const long = useLasting(since, UNSAVED_SHOWN_AFTER_MS);
  // Offline it is the moment that counts, online that it has lasted.
  const told = long || connection === "offline" ? since : null;
  const { word, detail, icon: Icon, tone, spin } = shown(connection, unsaved, mayEdit, told);
  return (
    <span
      role="status"
      title={detail}
      data-save-state={connection === "online" ? (unsaved > 0 ? "saving" : "saved") : connection}
      className={cx("flex shrink-0 items-center gap-1 pl-1 text-[12.5px]", tone)}
    >
      <Icon size={14} aria-hidden="true" className={spin ? "animate-spin" : ""} />
      <span className="max-[480px]:sr-only">{word}</span>
    </span>
  );
}

/** A count that shows its rise only when it lasts. */
function useSettled(count: number): number {
  const [settled, setSettled] = useState(count);
  const waits = count > 0 && settled === 0;
  useEffect(() => {
    if (!waits) {
      setSettled(count);
      return;
    }
    const timer = setTimeout(() => setSettled(count), SAVING_SHOWN_AFTER_MS);
    return () => clearTimeout(timer);
  }, [count, waits]);
  return settled;
}

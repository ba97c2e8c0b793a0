import { CloudOff, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { Button } from "../parts/Button.tsx";
import { useLasting } from "../parts/lasting.ts";
import { clock } from "../parts/time.ts";
import { useSession, useSessionState } from "./context.ts";

/** A break shorter than this heals before anybody could read about it. */
const OFFLINE_SHOWN_AFTER_MS = 3000;

/** Unsaved for longer than this, something is wrong that the person should know of. */
export const UNSAVED_SHOWN_AFTER_MS = 10_000;

/** What is wrong with the connection, and what it means for what is typed now. */
export function Banners() {
  const session = useSession();
  const offline = useLasting(
    useSessionState((state) => state.offlineSince),
    OFFLINE_SHOWN_AFTER_MS,
  );
  const unsaved = useLasting(
    useSessionState((state) => state.unsavedSince),
    UNSAVED_SHOWN_AFTER_MS,
  );
  const count = useSessionState((state) => state.unsaved);
  const since = useSessionState((state) => state.unsavedSince);
  const kept = useSessionState((state) => state.kept);
  const crowded = useSessionState((state) => state.crowded);

  if (offline) {
    return (
      <Banner icon={<CloudOff size={16} aria-hidden="true" />}>
        <span>
          <strong className="font-semibold">
            {crowded
              ? "The server has too many connections. This page tries again by itself."
              : "The server cannot be reached."}
          </strong>{" "}
          {count === 0
            ? "You can go on typing here; it is sent when the connection is back."
            : kept
              ? "What you typed since then is kept in this browser and sent when the connection is back."
              : "What you typed since then is only in this page: keep it open until this message goes."}
        </span>
        <Button size="small" onClick={() => session.retryNow()}>
          Try now
        </Button>
      </Banner>
    );
  }
  if (unsaved) {
    return (
      <Banner icon={<TriangleAlert size={16} aria-hidden="true" />}>
        <span>
          <strong className="font-semibold">
            Not saved since {clock(since)}: {count === 1 ? "one change" : `${count} changes`}.
          </strong>{" "}
          The server is there but does not store anything now; its disk may be full. The others see
          what you type.{" "}
          {kept
            ? "It is kept in this browser too, and saved as soon as the server can."
            : "Keep this page open until this message goes."}
        </span>
      </Banner>
    );
  }
  return null;
}

function Banner({ icon, children }: { icon: ReactNode; children: ReactNode }) {
  return (
    <div
      role="alert"
      className="fade-in flex shrink-0 items-center gap-3 border-b border-warn-line bg-warn-soft px-4 py-2 text-[13px] text-ink"
    >
      <span className="text-warn">{icon}</span>
      <div className="flex min-w-0 flex-1 flex-wrap items-center justify-between gap-x-4 gap-y-1.5">
        {children}
      </div>
    </div>
  );
}

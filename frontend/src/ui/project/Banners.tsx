import { CloudOff, TriangleAlert } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { Button } from "../parts/Button.tsx";
import { useSession, useSessionState } from "./context.ts";

/** A break shorter than this heals before anybody could read about it. */
const OFFLINE_SHOWN_AFTER_MS = 3000;

/** Unsaved for longer than this, something is wrong that the person should know of. */
const UNSAVED_SHOWN_AFTER_MS = 10_000;

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

  if (offline) {
    return (
      <Banner icon={<CloudOff size={16} aria-hidden="true" />}>
        <span>
          <strong className="font-semibold">The server cannot be reached.</strong>{" "}
          {unsaved || count > 0
            ? "What you typed since then is only in this page: keep it open until this message goes."
            : "You can go on typing here; it is sent when the connection is back. Keep this page open."}
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
          <strong className="font-semibold">Your last changes are not saved yet.</strong> The server
          has not confirmed them for a while. Keep this page open.
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

/** True once something has lasted: `since` is when it began, or `null` while it is not so. */
function useLasting(since: number | null, milliseconds: number): boolean {
  const [lasting, setLasting] = useState(false);
  useEffect(() => {
    if (since === null) {
      setLasting(false);
      return;
    }
    const timer = setTimeout(
      () => setLasting(true),
      Math.max(0, since + milliseconds - Date.now()),
    );
    return () => clearTimeout(timer);
  }, [since, milliseconds]);
  return lasting;
}

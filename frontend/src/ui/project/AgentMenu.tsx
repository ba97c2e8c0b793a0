import { Ellipsis } from "lucide-react";
import { DropdownMenu } from "radix-ui";
import { useState } from "react";
import { explain, type Told } from "../../core/errors.ts";
import type { Agent } from "../../core/protocol.ts";
import { isReviewable } from "../../state/turns.ts";
import { Button } from "../parts/Button.tsx";
import { useMayEdit, useSession, useSessionState } from "./context.ts";

/** Verdicts about everything an agent did in this project. */
export function AgentMenu({ agent }: { agent: Agent }) {
  const session = useSession();
  const mayEdit = useMayEdit();
  const any = useSessionState(({ turns }) => turns.some((turn) => turn.hunks.length > 0));
  const open = useSessionState(({ turns }) => turns.filter(isReviewable).length);
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [told, setTold] = useState<Told | null>(null);
  if (!mayEdit || !any) return null;

  const decide = async (verdict: "accept" | "reject") => {
    setBusy(true);
    setTold(null);
    try {
      await session.judgeAgent(verdict, agent.id);
      setAsking(false);
    } catch (error) {
      setTold(explain(error));
    } finally {
      setBusy(false);
    }
  };
  const item =
    "rounded-md px-2 py-1.5 outline-none data-[disabled]:text-faint data-[highlighted]:bg-hover";
  return (
    <>
      <DropdownMenu.Root>
        <DropdownMenu.Trigger
          aria-label={`Everything ${agent.name} did`}
          className="ml-auto inline-flex size-8 shrink-0 items-center justify-center rounded-lg text-muted hover:bg-hover hover:text-ink data-[state=open]:bg-hover"
        >
          <Ellipsis size={16} aria-hidden="true" />
        </DropdownMenu.Trigger>
        <DropdownMenu.Portal>
          <DropdownMenu.Content
            align="end"
            sideOffset={4}
            collisionPadding={8}
            className="pop-in z-50 min-w-56 rounded-xl border border-line bg-raised p-1 text-[13px] shadow-pop"
          >
            <DropdownMenu.Item
              className={item}
              disabled={open === 0 || busy}
              onSelect={() => void decide("accept")}
            >
              Accept all remaining changes
            </DropdownMenu.Item>
            <DropdownMenu.Item className={item} disabled={busy} onSelect={() => setAsking(true)}>
              Reject everything…
            </DropdownMenu.Item>
          </DropdownMenu.Content>
        </DropdownMenu.Portal>
      </DropdownMenu.Root>
      {asking || told ? (
        <div
          role="alertdialog"
          aria-label={`Reject everything ${agent.name} did?`}
          className="fade-in absolute inset-x-0 top-full z-10 flex flex-wrap items-center gap-2 border-b border-warn-line bg-warn-soft px-4 py-2 text-[13px]"
        >
          <p className="min-w-0 flex-1 basis-48">
            {told?.title ??
              `Take back every turn of ${agent.name} in this project, accepted ones too? What people typed stays.`}
          </p>
          <div className="flex gap-1.5">
            <Button
              size="small"
              look="danger"
              disabled={busy}
              onClick={() => void decide("reject")}
            >
              Reject everything
            </Button>
            <Button
              size="small"
              onClick={() => {
                setAsking(false);
                setTold(null);
              }}
            >
              Cancel
            </Button>
          </div>
        </div>
      ) : null}
    </>
  );
}

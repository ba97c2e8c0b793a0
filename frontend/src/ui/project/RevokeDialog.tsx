import { AlertDialog } from "radix-ui";
import { useState } from "react";
import type { Invite } from "../../core/protocol.ts";
import { Button } from "../parts/Button.tsx";

/** Asks what becomes of those who came by a link before it is revoked. They stay unless it is said. */
export function RevokeDialog({
  invite,
  onRevoke,
  onClose,
}: {
  invite: Invite | null;
  onRevoke: (invite: string, members: "keep" | "remove") => void;
  onClose: () => void;
}) {
  const [remove, setRemove] = useState(false);
  const revoke = () => {
    if (!invite) return;
    onRevoke(invite.id, remove ? "remove" : "keep");
    onClose();
  };
  const people = invite?.members ?? 0;
  return (
    <AlertDialog.Root open={invite !== null} onOpenChange={(open) => open || onClose()}>
      <AlertDialog.Portal>
        <AlertDialog.Overlay className="fade-in fixed inset-0 z-[60] bg-black/40" />
        <AlertDialog.Content className="pop-in fixed top-1/2 left-1/2 z-[60] w-[calc(100vw-32px)] max-w-sm -translate-x-1/2 -translate-y-1/2 rounded-2xl border border-line bg-raised p-5 shadow-pop">
          <AlertDialog.Title className="text-base font-semibold tracking-[-0.01em]">
            Revoke this link?
          </AlertDialog.Title>
          <AlertDialog.Description className="mt-1.5 text-[13px] text-muted">
            Nobody else comes in by it. Those who did stay, unless you take them out.
          </AlertDialog.Description>
          <label className="mt-3 flex items-start gap-2 text-[13px]">
            <input
              type="checkbox"
              checked={remove}
              onChange={(event) => setRemove(event.currentTarget.checked)}
              className="mt-0.5 accent-accent"
            />
            {people === 1
              ? "Also take out the person who came by it"
              : `Also take out the ${people} people who came by it`}
          </label>
          <div className="mt-5 flex justify-end gap-2">
            <AlertDialog.Cancel asChild>
              <Button>Keep the link</Button>
            </AlertDialog.Cancel>
            <Button look="danger" onClick={revoke}>
              {remove ? "Revoke and take out" : "Revoke"}
            </Button>
          </div>
        </AlertDialog.Content>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}

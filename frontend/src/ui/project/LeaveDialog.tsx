import { AlertDialog } from "radix-ui";
import { useEffect, useState } from "react";
import { guardLeaving } from "../navigation.ts";
import { Button } from "../parts/Button.tsx";
import { useSession } from "./context.ts";
import { Unsent } from "./Unsent.tsx";

/** Asks before a project is left with text that would be lost. */
export function LeaveDialog() {
  const session = useSession();
  const [leave, setLeave] = useState<(() => void) | null>(null);

  useEffect(
    () =>
      guardLeaving((go) => {
        if (!session.unsent.isOnlyHere) return true;
        void session.unsent.keepAll().then((kept) => (kept ? go() : setLeave(() => go)));
        return false;
      }),
    [session],
  );

  return (
    <AlertDialog.Root open={leave !== null} onOpenChange={(open) => !open && setLeave(null)}>
      <AlertDialog.Portal>
        <AlertDialog.Overlay className="fade-in fixed inset-0 z-40 bg-black/40" />
        <AlertDialog.Content className="pop-in fixed top-1/2 left-1/2 z-50 flex w-[calc(100vw-32px)] max-w-sm -translate-x-1/2 -translate-y-1/2 flex-col gap-4 rounded-2xl border border-line bg-raised p-5 shadow-pop">
          <div>
            <AlertDialog.Title className="text-base font-semibold tracking-[-0.01em]">
              Leave without saving?
            </AlertDialog.Title>
            <AlertDialog.Description className="mt-1.5 text-[13px] text-muted">
              Some of what you typed is only in this page. When you leave, it is gone.
            </AlertDialog.Description>
          </div>
          <Unsent />
          <div className="flex justify-end gap-2">
            <AlertDialog.Cancel asChild>
              <Button>Stay</Button>
            </AlertDialog.Cancel>
            <Button look="danger" onClick={() => leave?.()}>
              Leave
            </Button>
          </div>
        </AlertDialog.Content>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}

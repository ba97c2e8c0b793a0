import { AlertDialog } from "radix-ui";
import { useState } from "react";
import { explain, type Told } from "../../core/errors.ts";
import { Button } from "../parts/Button.tsx";
import { useSession } from "./context.ts";

/** Asks before a file goes for everybody. */
export function DeleteDialog({
  target,
  onClose,
}: {
  target: { id: string; path: string } | null;
  onClose: () => void;
}) {
  const session = useSession();
  const [told, setTold] = useState<Told | null>(null);
  const confirm = async () => {
    if (!target) return;
    try {
      await session.deleteDocument(target.id);
      onClose();
    } catch (error) {
      setTold(explain(error));
    }
  };
  return (
    <AlertDialog.Root
      open={target !== null}
      onOpenChange={(open) => {
        if (open) return;
        setTold(null);
        onClose();
      }}
    >
      <AlertDialog.Portal>
        <AlertDialog.Overlay className="fade-in fixed inset-0 z-40 bg-black/40" />
        <AlertDialog.Content className="pop-in fixed top-1/2 left-1/2 z-50 w-[calc(100vw-32px)] max-w-sm -translate-x-1/2 -translate-y-1/2 rounded-2xl border border-line bg-raised p-5 shadow-pop">
          <AlertDialog.Title className="text-base font-semibold tracking-[-0.01em] break-words">
            Delete {target?.path}?
          </AlertDialog.Title>
          <AlertDialog.Description className="mt-1.5 text-[13px] text-muted">
            It goes for everybody in the project, with its history.
          </AlertDialog.Description>
          {told ? <p className="mt-3 text-[13px] text-danger">{told.title}</p> : null}
          <div className="mt-5 flex justify-end gap-2">
            <AlertDialog.Cancel asChild>
              <Button>Keep it</Button>
            </AlertDialog.Cancel>
            <Button look="danger" onClick={() => void confirm()}>
              Delete
            </Button>
          </div>
        </AlertDialog.Content>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}

import { Check, Eye } from "lucide-react";
import { DropdownMenu } from "radix-ui";
import type { ReactNode } from "react";
import { useStore } from "zustand";
import { setMarks, settings } from "../../state/settings.ts";
import { keyName } from "../parts/keys.ts";
import { useWorkbench } from "./context.ts";

const ITEM =
  "flex items-center gap-2 rounded-md px-2 py-1.5 outline-none data-[disabled]:text-faint data-[highlighted]:bg-hover";

/** What is shown in the text, and the commands about it with their keys. */
export function ViewMenu() {
  const workbench = useWorkbench();
  const { review } = workbench;
  const count = useStore(review.store, (state) => state.count);
  const reviewShown = useStore(settings, (state) => state.reviewShown);
  const authorsShown = useStore(settings, (state) => state.authorsShown);
  return (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger
        aria-label="View"
        className="inline-flex size-8 shrink-0 items-center justify-center rounded-lg text-muted hover:bg-hover hover:text-ink data-[state=open]:bg-hover"
      >
        <Eye size={16} aria-hidden="true" />
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="end"
          sideOffset={4}
          collisionPadding={8}
          // What a command was about gets the focus, not the button of the menu.
          onCloseAutoFocus={(event) => event.preventDefault()}
          className="pop-in z-50 min-w-64 rounded-xl border border-line bg-raised p-1 text-[13px] shadow-pop"
        >
          <Choice checked={authorsShown} onChange={(shown) => setMarks("authors", shown)}>
            Who wrote what
          </Choice>
          <Choice checked={reviewShown} onChange={(shown) => setMarks("review", shown)}>
            Changes to review
          </Choice>
          <DropdownMenu.Separator className="my-1 h-px bg-line" />
          <Command
            keys="Shift Alt W"
            disabled={!authorsShown}
            run={() => workbench.whoWroteThisLine()}
          >
            Who wrote this line
          </Command>
          <Command keys="F7" disabled={count === 0} run={() => review.next()}>
            Next change
          </Command>
          <Command keys="Shift F7" disabled={count === 0} run={() => review.previous()}>
            Previous change
          </Command>
          <Command
            keys="Alt Enter"
            disabled={count === 0}
            run={() => review.judge("accept", false)}
          >
            Accept the change
          </Command>
          <Command
            keys="Shift Alt Enter"
            disabled={count === 0}
            run={() => review.judge("reject", false)}
          >
            Reject the change
          </Command>
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}

function Choice({
  checked,
  onChange,
  children,
}: {
  checked: boolean;
  onChange: (checked: boolean) => void;
  children: ReactNode;
}) {
  return (
    <DropdownMenu.CheckboxItem className={ITEM} checked={checked} onCheckedChange={onChange}>
      <span className="flex size-4 items-center justify-center">
        <DropdownMenu.ItemIndicator>
          <Check size={14} aria-hidden="true" />
        </DropdownMenu.ItemIndicator>
      </span>
      {children}
    </DropdownMenu.CheckboxItem>
  );
}

function Command({
  keys,
  disabled,
  run,
  children,
}: {
  keys: string;
  disabled: boolean;
  run: () => void;
  children: ReactNode;
}) {
  return (
    <DropdownMenu.Item className={ITEM} disabled={disabled} onSelect={run}>
      <span className="flex-1 pl-6">{children}</span>
      <kbd className="font-sans text-[11.5px] text-muted">{keyName(keys)}</kbd>
    </DropdownMenu.Item>
  );
}

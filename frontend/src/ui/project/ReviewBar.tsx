import { ArrowRight, Check, CheckCheck, ChevronDown, ChevronUp, Undo2 } from "lucide-react";
import { useStore } from "zustand";
import { Button, Hint, IconButton } from "../parts/Button.tsx";
import { keyName } from "../parts/keys.ts";
import { useMayEdit, useSessionState, useWorkbench } from "./context.ts";

/** Fingers need more room than a pointer. */
const TOUCH = "max-[720px]:h-10";

const TOUCH_ICON = "max-[720px]:size-10";

/** Walks through what turns did in this file, and takes verdicts about it. */
export function ReviewBar() {
  const workbench = useWorkbench();
  const { review } = workbench;
  const state = useStore(review.store);
  const offered = state.offer !== null;
  return (
    <>
      {offered ? <Offer /> : state.count > 0 ? <Bar /> : null}
      <div aria-live="polite" className="sr-only" data-said>
        {state.said}
      </div>
    </>
  );
}

function Bar() {
  const workbench = useWorkbench();
  const { review } = workbench;
  const { count, active, elsewhere, busy, told } = useStore(review.store);
  const mayEdit = useMayEdit();
  const other = useSessionState(({ documents }) =>
    elsewhere === null ? null : (documents.get(elsewhere.document)?.path.split("/").at(-1) ?? null),
  );
  const none = active === null;
  return (
    <section
      aria-label="Review"
      data-review-bar
      className="fade-in flex shrink-0 flex-wrap items-center gap-x-1.5 gap-y-1 border-t border-line bg-paper px-2 py-1.5 sm:px-3"
    >
      <IconButton
        label="Previous change"
        hint={keyName("Shift F7")}
        icon={ChevronUp}
        className={TOUCH_ICON}
        onClick={() => review.previous()}
      />
      <IconButton
        label="Next change"
        hint={keyName("F7")}
        icon={ChevronDown}
        className={TOUCH_ICON}
        onClick={() => review.next()}
      />
      <span className="min-w-0 px-1 text-[13px] tabular-nums">
        {none ? (
          <>
            {count} {count === 1 ? "change" : "changes"}
            <span className="text-muted"> to review</span>
          </>
        ) : (
          <>
            Change {active + 1} <span className="text-muted">of {count}</span>
          </>
        )}
      </span>
      {elsewhere && other ? (
        <Button
          size="small"
          look="quiet"
          icon={ArrowRight}
          className={TOUCH}
          onClick={() => workbench.reviewIn(elsewhere.document)}
        >
          {elsewhere.count} in {other}
        </Button>
      ) : null}
      {told ? (
        <span role="alert" className="text-xs text-danger">
          {told.title}
        </span>
      ) : null}
      <span className="flex-1" />
      {mayEdit ? (
        <div className="flex flex-wrap gap-1.5">
          <Hint label="Accept this change" hint={keyName("Alt Enter")}>
            <Button
              size="small"
              icon={Check}
              className={TOUCH}
              disabled={none || busy}
              onClick={() => review.judge("accept", false)}
            >
              Accept
            </Button>
          </Hint>
          <Hint label="Reject this change" hint={keyName("Shift Alt Enter")}>
            <Button
              size="small"
              icon={Undo2}
              className={TOUCH}
              disabled={none || busy}
              onClick={() => review.judge("reject", false)}
            >
              Reject
            </Button>
          </Hint>
          <Hint label="Accept every change in this file" hint={keyName("Mod Alt Enter")}>
            <Button
              size="small"
              look="quiet"
              icon={CheckCheck}
              className={TOUCH}
              disabled={busy}
              onClick={() => review.judge("accept", true)}
            >
              Accept all
            </Button>
          </Hint>
          <Hint label="Reject every change in this file" hint={keyName("Mod Alt Shift Enter")}>
            <Button
              size="small"
              look="quiet"
              className={TOUCH}
              disabled={busy}
              onClick={() => review.judge("reject", true)}
            >
              Reject all
            </Button>
          </Hint>
        </div>
      ) : null}
    </section>
  );
}

/**
 * Undo right after one's own turn: rather the turn than what was typed before it? The focus stays in
 * the text, where typing on is the answer no.
 */
function Offer() {
  const { review } = useWorkbench();
  const offer = useStore(review.store, (state) => state.offer);
  return (
    <section
      aria-label="Reject your last turn?"
      data-undo-offer
      className="group fade-in flex shrink-0 flex-wrap items-center gap-x-3 gap-y-1.5 border-t border-accent-line bg-accent-soft px-3 py-2"
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        void review.answerOffer(false);
      }}
    >
      <p className="min-w-0 flex-1 basis-52 text-[13px]">
        <strong className="font-semibold">Reject this turn?</strong>{" "}
        <span className="text-muted [overflow-wrap:anywhere]">“{clip(offer?.prompt ?? "")}”</span>
        <span className="hidden text-muted sm:inline sm:group-focus-within:hidden">
          {" "}
          Type on to leave it.
        </span>
      </p>
      <div className="flex gap-1.5">
        <Button
          size="small"
          look="accent"
          icon={Undo2}
          className={TOUCH}
          onClick={() => void review.answerOffer(true)}
        >
          Reject whole turn{" "}
          <kbd className="font-sans text-[11px] opacity-80 group-focus-within:hidden max-sm:hidden">
            F6
          </kbd>
          <kbd className="hidden font-sans text-[11px] opacity-80 group-focus-within:inline">
            {keyName("Enter")}
          </kbd>
        </Button>
        <Button size="small" className={TOUCH} onClick={() => void review.answerOffer(false)}>
          Leave it{" "}
          <kbd className="hidden font-sans text-[11px] text-muted group-focus-within:inline">
            Esc
          </kbd>
        </Button>
      </div>
    </section>
  );
}

/** So much of a prompt is enough to know it again. */
const PROMPT_SHOWN = 80;

function clip(prompt: string): string {
  return prompt.length > PROMPT_SHOWN ? `${prompt.slice(0, PROMPT_SHOWN)}…` : prompt;
}

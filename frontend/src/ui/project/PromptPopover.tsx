import { useEffect, useRef } from "react";
import { createPortal } from "react-dom";
import { useWorkbench, useWorkbenchState } from "./context.ts";
import { PromptForm } from "./PromptForm.tsx";

/** The prompt at the selection, in the room that the editor has made for it. */
export function PromptPopover() {
  const place = useWorkbenchState((state) => state.promptPlace);
  if (!place) return null;
  return createPortal(<Prompt />, place);
}

function Prompt() {
  const workbench = useWorkbench();
  const selected = useWorkbenchState((state) => state.lines !== null);
  const input = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    // The tooltip is measured first; focusing before that would scroll the text.
    const frame = requestAnimationFrame(() => input.current?.focus({ preventScroll: true }));
    return () => cancelAnimationFrame(frame);
  }, []);
  return (
    <div
      role="dialog"
      aria-label="Ask the agent"
      className="pop-in w-[min(420px,calc(100vw-48px))] py-1.5 font-sans"
    >
      <PromptForm
        inputRef={input}
        compact
        placeholder={selected ? "Change or explain the selection" : "What should happen here?"}
        onSent={workbench.closePrompt}
        onCancel={workbench.closePrompt}
      />
    </div>
  );
}

import { ArrowUp } from "lucide-react";
import { type FormEvent, type RefObject, useLayoutEffect, useRef, useState } from "react";
import { explain, type Told } from "../../core/errors.ts";
import { cx } from "../parts/cx.ts";
import { useSessionState, useWorkbench, useWorkbenchState } from "./context.ts";

/** Tall enough for a short paragraph; longer prompts scroll. */
const MAX_HEIGHT_PX = 180;

/** A prompt is at most this long; files are for longer texts. */
const MAX_PROMPT = 20_000;

interface PromptFormProps {
  inputRef: RefObject<HTMLTextAreaElement | null>;
  placeholder: string;
  compact?: boolean;
  onSent?: () => void;
  onCancel?: () => void;
}

/** Where a prompt is typed, in the panel and at the selection. */
export function PromptForm({ inputRef, placeholder, compact, onSent, onCancel }: PromptFormProps) {
  const workbench = useWorkbench();
  const online = useSessionState((state) => state.connection === "online");
  const [prompt, setPrompt] = useState("");
  const [told, setTold] = useState<Told | null>(null);
  const sending = useRef(false);

  useLayoutEffect(() => {
    const field = inputRef.current;
    if (!field) return;
    // Reading it makes the effect run again when the text changes.
    void prompt;
    field.style.height = "auto";
    // A panel that is not shown has no height to measure.
    if (field.scrollHeight === 0) return;
    field.style.height = `${Math.min(field.scrollHeight, MAX_HEIGHT_PX)}px`;
  }, [inputRef, prompt]);

  const send = async (event?: FormEvent) => {
    event?.preventDefault();
    const text = prompt.trim();
    if (text === "" || sending.current) return;
    sending.current = true;
    setTold(null);
    try {
      await workbench.ask(text);
      setPrompt("");
      onSent?.();
    } catch (error) {
      setTold(explain(error));
    } finally {
      sending.current = false;
    }
  };

  return (
    <form onSubmit={send} className="flex flex-col gap-2">
      <div
        className={cx(
          "field-ring rounded-xl border border-line-strong bg-raised",
          compact && "shadow-pop",
        )}
      >
        <textarea
          ref={inputRef}
          rows={1}
          value={prompt}
          maxLength={MAX_PROMPT}
          aria-label="Prompt for the agent"
          placeholder={placeholder}
          onChange={(event) => setPrompt(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
              event.preventDefault();
              void send();
            }
            if (event.key === "Escape" && onCancel) {
              event.preventDefault();
              onCancel();
            }
          }}
          className="block w-full resize-none bg-transparent px-3 pt-2.5 pb-1 text-[13px] leading-relaxed"
        />
        <div className="flex items-center gap-2 pr-1.5 pb-1.5 pl-3">
          <Context />
          <div className="flex-1" />
          <button
            type="submit"
            aria-label="Send"
            disabled={prompt.trim() === "" || !online}
            className="flex size-7 items-center justify-center rounded-lg bg-accent text-accent-ink transition-colors hover:bg-accent-strong disabled:bg-sunken disabled:text-faint"
          >
            <ArrowUp size={16} strokeWidth={2.4} aria-hidden="true" />
          </button>
        </div>
      </div>
      {told ? (
        <p role="alert" className="px-1 text-xs text-danger">
          {told.title}. <span className="text-muted">{told.action}</span>
        </p>
      ) : online ? null : (
        <p className="px-1 text-xs text-muted">
          The agent can be asked when the connection is back.
        </p>
      )}
    </form>
  );
}

/** What the agent will be shown beside the prompt. */
function Context() {
  const document = useWorkbenchState((state) => state.document);
  const lines = useWorkbenchState((state) => state.lines);
  const path = useSessionState((state) =>
    document === null ? null : (state.documents.get(document)?.path ?? null),
  );
  if (path === null) return <span className="text-xs text-faint">No file open</span>;
  const name = path.slice(path.lastIndexOf("/") + 1);
  const where =
    lines === null
      ? ""
      : lines.from === lines.to
        ? `, line ${lines.from}`
        : `, lines ${lines.from} to ${lines.to}`;
  return (
    <span className="min-w-0 truncate text-xs text-muted" title={path}>
      {name}
      <span className={lines === null ? "" : "text-accent"}>{where}</span>
    </span>
  );
}

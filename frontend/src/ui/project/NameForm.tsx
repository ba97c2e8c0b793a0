import { type FormEvent, useEffect, useRef, useState } from "react";
import { explain, type Told } from "../../core/errors.ts";
import { tidyPath } from "../../core/tree.ts";

/** A path to type, in the list itself. */
export function NameForm({
  label,
  start,
  placeholder,
  onName,
  onDone,
}: {
  label: string;
  start: string;
  placeholder: string;
  onName: (path: string) => Promise<void>;
  onDone: () => void;
}) {
  const [path, setPath] = useState(start);
  const [told, setTold] = useState<Told | null>(null);
  const [busy, setBusy] = useState(false);
  const input = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const field = input.current;
    field?.focus();
    // The name without its ending is what is most often changed.
    const name = start.lastIndexOf("/") + 1;
    const dot = start.lastIndexOf(".");
    field?.setSelectionRange(name, dot > name ? dot : start.length);
  }, [start]);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const wanted = tidyPath(path);
    if (wanted === "" || wanted === start) return onDone();
    setBusy(true);
    try {
      await onName(wanted);
      onDone();
    } catch (error) {
      setTold(explain(error));
      setBusy(false);
      input.current?.focus();
    }
  };

  return (
    <form onSubmit={submit} className="py-0.5">
      <input
        ref={input}
        aria-label={label}
        aria-invalid={told !== null}
        value={path}
        placeholder={placeholder}
        readOnly={busy}
        spellCheck={false}
        autoComplete="off"
        autoCapitalize="off"
        maxLength={240}
        onChange={(event) => {
          setPath(event.target.value);
          setTold(null);
        }}
        onKeyDown={(event) => {
          event.stopPropagation();
          if (event.key === "Escape") onDone();
        }}
        onBlur={() => {
          if (!busy && told === null) onDone();
        }}
        className="field-ring h-8 w-full rounded-lg border border-line-strong bg-raised px-2.5 text-[13px]"
      />
      {told ? (
        <p role="alert" className="px-1 pt-1 text-xs text-danger">
          {told.title}. <span className="text-muted">{told.action}</span>
        </p>
      ) : (
        <p className="px-1 pt-1 text-xs text-faint max-md:hidden">
          Enter to confirm, slashes make folders
        </p>
      )}
    </form>
  );
}

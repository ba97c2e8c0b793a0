import { type ComponentProps, type ReactNode, useId } from "react";
import { cx } from "./cx.ts";

interface FieldProps extends ComponentProps<"input"> {
  label: string;
  note?: ReactNode;
}

/** A labelled line to type in. */
export function Field({ label, note, className, ...rest }: FieldProps) {
  const id = useId();
  return (
    <div className={cx("flex flex-col gap-1.5", className)}>
      <label htmlFor={id} className="text-[13px] font-medium text-ink">
        {label}
      </label>
      <input
        id={id}
        autoComplete="off"
        spellCheck={false}
        className="field-ring h-10 w-full rounded-lg border border-line-strong bg-raised px-3 text-sm text-ink"
        {...rest}
      />
      {note ? <p className="text-[12.5px] text-muted">{note}</p> : null}
    </div>
  );
}

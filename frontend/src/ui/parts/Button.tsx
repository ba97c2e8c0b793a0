import type { LucideIcon, LucideProps } from "lucide-react";
import { Tooltip } from "radix-ui";
import type { ComponentProps, ComponentType, ReactNode } from "react";
import { cx } from "./cx.ts";

type Look = "accent" | "plain" | "quiet" | "danger";
type Size = "small" | "medium" | "large";

const LOOKS: Record<Look, string> = {
  accent: "bg-accent text-accent-ink hover:bg-accent-strong disabled:bg-sunken disabled:text-faint",
  plain:
    "bg-raised text-ink border border-line-strong hover:bg-hover disabled:text-faint disabled:hover:bg-raised",
  quiet:
    "text-muted hover:bg-hover hover:text-ink disabled:text-faint disabled:hover:bg-transparent",
  danger: "bg-danger text-danger-ink hover:opacity-90 disabled:opacity-50",
};

const SIZES: Record<Size, string> = {
  small: "h-7 px-2.5 gap-1.5 text-[12.5px] rounded-md",
  medium: "h-8 px-3 gap-2 text-[13px] rounded-lg",
  large: "h-10 px-4 gap-2 text-sm rounded-lg",
};

interface ButtonProps extends ComponentProps<"button"> {
  look?: Look;
  size?: Size;
  icon?: ComponentType<LucideProps>;
}

export function Button({
  look = "plain",
  size = "medium",
  icon: Icon,
  className,
  children,
  type = "button",
  ...rest
}: ButtonProps) {
  return (
    <button
      type={type}
      className={cx(
        "inline-flex shrink-0 items-center justify-center font-medium whitespace-nowrap transition-colors select-none",
        LOOKS[look],
        SIZES[size],
        className,
      )}
      {...rest}
    >
      {Icon ? <Icon size={size === "large" ? 17 : 15} strokeWidth={2} aria-hidden="true" /> : null}
      {children}
    </button>
  );
}

interface IconButtonProps extends ComponentProps<"button"> {
  label: string;
  icon: LucideIcon;
  /** Shown beside the label, like a key. */
  hint?: string;
  pressed?: boolean;
}

/** A button with only a picture; its name is a tooltip and is read aloud. */
export function IconButton({
  label,
  icon: Icon,
  hint,
  pressed,
  className,
  type = "button",
  ...rest
}: IconButtonProps) {
  return (
    <Hint label={label} {...(hint === undefined ? {} : { hint })}>
      <button
        type={type}
        aria-label={label}
        aria-pressed={pressed}
        className={cx(
          "inline-flex size-8 shrink-0 items-center justify-center rounded-lg transition-colors hover:bg-hover hover:text-ink disabled:text-faint disabled:hover:bg-transparent",
          pressed ? "bg-hover text-ink" : "text-muted",
          className,
        )}
        {...rest}
      >
        <Icon size={17} strokeWidth={1.9} aria-hidden="true" />
      </button>
    </Hint>
  );
}

/** Names what it is around when the pointer rests there or the keyboard reaches it. */
export function Hint({
  label,
  hint,
  children,
}: {
  label: string;
  hint?: string;
  children: ReactNode;
}) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild>{children}</Tooltip.Trigger>
      <Tooltip.Portal>
        <Tooltip.Content
          sideOffset={6}
          collisionPadding={8}
          className="fade-in z-50 flex items-center gap-2 rounded-md bg-ink px-2 py-1 text-xs font-medium text-paper shadow-pop"
        >
          {label}
          {hint ? <span className="opacity-65">{hint}</span> : null}
        </Tooltip.Content>
      </Tooltip.Portal>
    </Tooltip.Root>
  );
}

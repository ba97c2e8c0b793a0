import { Sparkles } from "lucide-react";
import { cx } from "./cx.ts";

interface AvatarProps {
  name: string;
  color: string;
  kind?: "person" | "agent";
  size?: number;
  /** A dot that breathes: at work right now. */
  busy?: boolean;
  className?: string;
}

/** A person's first letter or an agent's sign, in its own color. */
export function Avatar({ name, color, kind = "person", size = 26, busy, className }: AvatarProps) {
  const first = [...name.trim()][0] ?? "?";
  return (
    <span
      aria-hidden="true"
      className={cx(
        "relative inline-flex shrink-0 items-center justify-center font-semibold text-white select-none",
        kind === "agent" ? "rounded-[30%]" : "rounded-full",
        className,
      )}
      style={{
        width: size,
        height: size,
        fontSize: Math.round(size * 0.44),
        background: color,
        textShadow: "0 0 2px rgb(0 0 0 / 35%)",
      }}
    >
      {kind === "agent" ? <Sparkles size={Math.round(size * 0.56)} /> : first.toUpperCase()}
      {busy ? (
        <span className="breathe absolute -right-0.5 -bottom-0.5 size-2.5 rounded-full border-2 border-paper bg-accent" />
      ) : null}
    </span>
  );
}

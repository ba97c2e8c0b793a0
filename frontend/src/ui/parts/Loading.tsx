import { Mark } from "./Logo.tsx";

/** A whole page that is on its way. */
export function Loading({ label }: { label: string }) {
  return (
    <div
      className="flex h-full flex-col items-center justify-center gap-4 text-muted"
      role="status"
    >
      <span className="breathe">
        <Mark size={36} />
      </span>
      <span className="text-[13px]">{label}</span>
    </div>
  );
}

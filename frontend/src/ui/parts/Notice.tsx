import type { ReactNode } from "react";

/** Something a person should know before they go on, with what they can do about it. */
export function Notice({
  icon,
  title,
  action,
  children,
}: {
  icon: ReactNode;
  title: string;
  action?: ReactNode;
  children: ReactNode;
}) {
  return (
    <div
      role="alert"
      className="fade-in flex shrink-0 flex-wrap items-center gap-x-4 gap-y-2 border-b border-warn-line bg-warn-soft px-4 py-2.5 text-[13px]"
    >
      <div className="flex min-w-0 flex-1 basis-64 items-start gap-2.5">
        <span className="mt-0.5 text-warn">{icon}</span>
        <div className="min-w-0">
          <p className="font-semibold">{title}</p>
          <p className="text-muted">{children}</p>
        </div>
      </div>
      {action ? <div className="flex flex-wrap gap-2">{action}</div> : null}
    </div>
  );
}

import type { ReactNode } from "react";
import type { Told } from "../../core/errors.ts";
import { navigate } from "../navigation.ts";
import { Button } from "./Button.tsx";
import { Mark } from "./Logo.tsx";

/** A whole page that says what is wrong and what to do. */
export function Failure({
  told,
  first,
  children,
}: {
  told: Told;
  /** What to do before anything else. */
  first?: ReactNode;
  children?: ReactNode;
}) {
  return (
    <main className="flex h-full items-center justify-center p-6">
      <div className="flex w-full max-w-sm flex-col items-start gap-5">
        <Mark size={36} />
        <div className="flex flex-col gap-2">
          <h1 className="text-xl font-semibold tracking-[-0.02em] text-balance">{told.title}</h1>
          {told.action ? <p className="text-muted text-pretty">{told.action}</p> : null}
          {told.requestId ? (
            <p className="text-[12.5px] text-faint">Request {told.requestId}</p>
          ) : null}
        </div>
        {first}
        <div className="flex gap-2">
          {children}
          <Button onClick={() => navigate("/")}>Go to the start page</Button>
        </div>
      </div>
    </main>
  );
}

/** A part of the page is missing or has failed. */
export function Broken({ first }: { first?: ReactNode }) {
  const told = {
    title: "A part of this page did not load",
    action: "Check your connection, and load the page again.",
    requestId: null,
  };
  return (
    <Failure told={told} first={first}>
      <Button look="accent" onClick={() => location.reload()}>
        Reload
      </Button>
    </Failure>
  );
}

/** A short message inside a page. */
export function Problem({ told }: { told: Told }) {
  return (
    <div
      role="alert"
      className="rounded-lg border border-danger-line bg-danger-soft px-3 py-2.5 text-[13px]"
    >
      <p className="font-medium text-danger">{told.title}</p>
      {told.action ? <p className="mt-0.5 text-muted">{told.action}</p> : null}
      {told.requestId ? <p className="mt-0.5 text-faint">Request {told.requestId}</p> : null}
    </div>
  );
}

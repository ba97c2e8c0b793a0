import { LifeBuoy } from "lucide-react";
import { useState } from "react";
import { applyEdits, unifiedDiff } from "../../core/recovery.ts";
import type { Aside } from "../../state/asides.ts";
import { Button } from "../parts/Button.tsx";
import { copyText } from "../parts/copy.ts";
import { downloadText } from "../parts/download.ts";
import { Notice } from "../parts/Notice.tsx";
import { useMayEdit, useSession, useSessionState, useWorkbench } from "./context.ts";

/** Text of this page that the server did not take, and what can be done with it. */
export function AsideNotice({ document }: { document: string }) {
  const aside = useSessionState(({ asides }) =>
    asides.findLast((each) => each.document === document && !each.returning),
  );
  const ready = useSessionState(({ open }) => open.get(document)?.phase === "ready");
  return aside && ready ? <Kept key={aside.key} aside={aside} /> : null;
}

function Kept({ aside }: { aside: Aside }) {
  const session = useSession();
  const workbench = useWorkbench();
  const mayEdit = useMayEdit();
  const locked = useSessionState(({ open }) => open.get(aside.document)?.readOnly ?? true);
  const [said, setSaid] = useState("");

  const withText = (use: (text: string, diff: string) => void) => {
    const only = session.unsent.compare(aside.key);
    const text = session.document(aside.document)?.text.toString();
    if (!only || text === undefined) return;
    use(applyEdits(text, only.edits), unifiedDiff(aside.path, text, only.edits));
  };
  return (
    <Notice
      icon={<LifeBuoy size={16} aria-hidden="true" />}
      title="Your unsent changes were kept aside"
      action={
        <>
          {aside.placed && mayEdit && !locked ? (
            <Button look="accent" onClick={() => workbench.putBack(aside.key)}>
              Put back
            </Button>
          ) : null}
          <Button
            onClick={() =>
              withText((_text, diff) => {
                downloadText(`${aside.path.split("/").at(-1)}.unsent.diff`, diff);
                setSaid("Downloaded: a list of your changes, line by line.");
              })
            }
          >
            Download
          </Button>
          <Button
            onClick={() =>
              withText((text) => {
                void copyText(text).then((done) =>
                  setSaid(done ? "The text with your changes is on the clipboard." : "Not copied."),
                );
              })
            }
          >
            Copy
          </Button>
          <Button look="quiet" onClick={() => session.unsent.drop(aside.key)}>
            Discard
          </Button>
        </>
      }
    >
      {because(aside.reason)} This file now shows what the server has; {amount(aside)}{" "}
      {aside.onlyHere
        ? "only in this page, which you should not close before you saved them"
        : "kept in this browser"}
      . <span role="status">{said}</span>
    </Notice>
  );
}

function because(reason: string): string {
  switch (reason) {
    case "read_only":
      return "You may only read this file now, so they could not be sent.";
    case "epoch":
      return "The file was put back to an earlier state on the server.";
    case "too_large":
      return "The file would have become too large.";
    default:
      return "The server did not take the text this page had.";
  }
}

function amount({ added, removed }: Aside): string {
  const characters = (count: number) => `${count} ${count === 1 ? "character" : "characters"}`;
  const are = added + removed === 1 ? "is" : "are";
  if (removed === 0) return `${characters(added)} you typed ${are}`;
  if (added === 0) return `the deletion of ${characters(removed)} is`;
  return `${characters(added)} you typed and ${removed} you deleted are`;
}

import { useState } from "react";
import { Button } from "../parts/Button.tsx";
import { copyText } from "../parts/copy.ts";
import { downloadText } from "../parts/download.ts";
import { useSession, useSessionState } from "./context.ts";

/** Text that the server may not have, to be saved by hand where it cannot be sent. */
export function Unsent() {
  const session = useSession();
  // What there is follows from these.
  useSessionState((state) => state.open);
  useSessionState((state) => state.asides);
  const [said, setSaid] = useState("");
  const texts = session.unsent.texts();
  if (texts.length === 0) return null;
  return (
    <section
      aria-label="Not saved"
      className="flex w-full flex-col gap-2 rounded-xl border border-warn-line bg-warn-soft p-3 text-[13px]"
    >
      <p className="font-semibold">The server does not have all you typed here</p>
      <ul className="flex flex-col gap-2">
        {texts.map(({ key, path, text }) => (
          <li key={key} className="flex flex-wrap items-center gap-2">
            <span className="min-w-0 flex-1 truncate font-mono text-[12px]">{path}</span>
            <Button
              size="small"
              onClick={() => downloadText(path.split("/").at(-1) || "text.txt", text)}
            >
              Download
            </Button>
            <Button
              size="small"
              onClick={() =>
                void copyText(text).then((done) =>
                  setSaid(done ? `${path} is on the clipboard.` : "Not copied."),
                )
              }
            >
              Copy
            </Button>
          </li>
        ))}
      </ul>
      <p role="status" className="text-muted empty:hidden">
        {said}
      </p>
    </section>
  );
}

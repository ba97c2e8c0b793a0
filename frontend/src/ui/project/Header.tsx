import { PanelLeft, PanelRight, UserPlus } from "lucide-react";
import { useState } from "react";
import { useStore } from "zustand";
import { setPanel, settings } from "../../state/settings.ts";
import { navigate } from "../navigation.ts";
import { Button, IconButton } from "../parts/Button.tsx";
import { Mark } from "../parts/Logo.tsx";
import { useLater } from "../parts/later.ts";
import { ThemeToggle } from "../parts/ThemeToggle.tsx";
import { useMayEdit, useSessionState } from "./context.ts";
import { Roster } from "./Roster.tsx";
import { SaveIndicator } from "./SaveIndicator.tsx";

const loadShareDialog = () => import("./ShareDialog.tsx").then((part) => part.ShareDialog);

export function Header() {
  const name = useSessionState((state) => state.project?.name ?? "");
  const filesOpen = useStore(settings, (state) => state.filesOpen);
  const agentOpen = useStore(settings, (state) => state.agentOpen);
  const mayEdit = useMayEdit();
  const [sharing, setSharing] = useState(false);
  const ShareDialog = useLater(loadShareDialog, sharing);

  return (
    <header className="flex h-[52px] shrink-0 items-center gap-1.5 border-b border-line bg-paper px-3 sm:gap-2">
      <a
        href="/"
        aria-label="Start page"
        className="rounded-lg p-1"
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          navigate("/");
        }}
      >
        <Mark size={24} />
      </a>
      <div className="hidden md:block">
        <IconButton
          label={filesOpen ? "Hide files" : "Show files"}
          icon={PanelLeft}
          aria-expanded={filesOpen}
          onClick={() => setPanel("files", !filesOpen)}
        />
      </div>
      <h1 className="min-w-0 truncate text-[14px] font-semibold tracking-[-0.01em]">{name}</h1>
      <SaveIndicator />
      <div className="flex-1" />
      <Roster />
      {mayEdit ? (
        <>
          <Button look="accent" icon={UserPlus} onClick={() => setSharing(true)} aria-label="Share">
            <span className="hidden sm:inline">Share</span>
          </Button>
          {ShareDialog ? <ShareDialog open={sharing} onOpenChange={setSharing} /> : null}
        </>
      ) : (
        <span className="rounded-md bg-sunken px-2 py-1 text-[12px] font-medium text-muted">
          Read only
        </span>
      )}
      <ThemeToggle />
      <div className="hidden md:block">
        <IconButton
          label={agentOpen ? "Hide the agent" : "Show the agent"}
          icon={PanelRight}
          aria-expanded={agentOpen}
          onClick={() => setPanel("agent", !agentOpen)}
        />
      </div>
    </header>
  );
}

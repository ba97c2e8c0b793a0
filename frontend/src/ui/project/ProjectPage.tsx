import { useEffect, useState } from "react";
import { useStore } from "zustand";
import { explainCode, isTransient } from "../../core/errors.ts";
import { documentInHash } from "../../core/routes.ts";
import type { ProjectSession } from "../../state/session.ts";
import { acquireSession, releaseSession } from "../../state/sessions.ts";
import { settings } from "../../state/settings.ts";
import { replaceHash } from "../navigation.ts";
import { Boundary } from "../parts/Boundary.tsx";
import { Button } from "../parts/Button.tsx";
import { cx } from "../parts/cx.ts";
import { Broken, Failure } from "../parts/Failure.tsx";
import { Loading } from "../parts/Loading.tsx";
import { AgentPanel } from "./AgentPanel.tsx";
import { Announcer } from "./Announcer.tsx";
import { Banners } from "./Banners.tsx";
import { ProjectContext, useSession, useSessionState, useWorkbench } from "./context.ts";
import { EditorPane } from "./EditorPane.tsx";
import { FilePanel } from "./FilePanel.tsx";
import { Header } from "./Header.tsx";
import { LeaveDialog } from "./LeaveDialog.tsx";
import { MobileBar } from "./MobileBar.tsx";
import { PromptPopover } from "./PromptPopover.tsx";
import { Unsent } from "./Unsent.tsx";
import { Workbench } from "./workbench.ts";

/** One project: files, editor, agent. */
export default function ProjectPage({ project }: { project: string }) {
  const [held, setHeld] = useState<{ session: ProjectSession; workbench: Workbench } | null>(null);

  useEffect(() => {
    const session = acquireSession(project);
    const workbench = new Workbench(session);
    setHeld({ session, workbench });
    return () => {
      workbench.destroy();
      releaseSession(project);
    };
  }, [project]);

  if (!held) return null;
  return (
    <ProjectContext value={held}>
      <Boundary instead={<Broken first={<Unsent />} />}>
        <Gate />
      </Boundary>
      <LeaveDialog />
    </ProjectContext>
  );
}

/** The server does not tell people who are not in a project whether there is one. */
const GONE = {
  title: "You are not in this project any more",
  action: "Somebody took you out of it, or it was deleted. Ask its owner for an invite link.",
  requestId: null,
};

function Gate() {
  const session = useSession();
  const phase = useSessionState((state) => state.phase);
  const failure = useSessionState((state) => state.failure);
  const offline = useSessionState((state) => state.connection === "offline");
  const wasHere = useSessionState((state) => state.project !== null);
  if (phase === "failed") {
    const told = wasHere && failure === "project_not_found" ? GONE : explainCode(failure);
    return (
      <Failure told={told} first={<Unsent />}>
        {isTransient(failure) ? (
          <Button look="accent" onClick={() => session.askAgain()}>
            Try again
          </Button>
        ) : failure === "unreadable" || failure === "bad_ticket" ? (
          <Button look="accent" onClick={() => location.reload()}>
            Reload
          </Button>
        ) : null}
      </Failure>
    );
  }
  if (phase === "loading") {
    return (
      <Loading label={offline ? "Waiting for the server to come back" : "Opening the project"} />
    );
  }
  return <Shell />;
}

function Shell() {
  const session = useSession();
  const workbench = useWorkbench();
  const name = useSessionState((state) => state.project?.name ?? "");
  const current = useSessionState((state) => state.current);
  const treeSynced = useSessionState((state) => state.treeSynced);
  const filesOpen = useStore(settings, (state) => state.filesOpen);
  const agentOpen = useStore(settings, (state) => state.agentOpen);
  const mobile = useStore(settings, (state) => state.mobilePanel);

  useEffect(() => {
    document.title = name ? `${name} · Ensemble` : "Ensemble";
  }, [name]);

  // The address names the open document, so that it can be sent to somebody.
  useEffect(() => {
    if (!treeSynced) return;
    const wanted = documentInHash(location.hash);
    const { documents } = session.store.getState();
    if (wanted !== null && documents.has(wanted)) session.select(wanted);
    const follow = () => {
      const id = documentInHash(location.hash);
      if (id !== null && session.store.getState().documents.has(id)) session.select(id);
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, [session, treeSynced]);
  useEffect(() => {
    if (treeSynced) replaceHash(current === null ? "" : `#${current}`);
  }, [current, treeSynced]);

  // The same keys as in the editor, wherever the focus is.
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented) return;
      if (event.key === "F6" && workbench.review.store.getState().offer) {
        event.preventDefault();
        document.querySelector<HTMLElement>("[data-undo-offer] button")?.focus();
        return;
      }
      if (event.key === "F7" && !event.ctrlKey && !event.metaKey && !event.altKey) {
        if (workbench.review.store.getState().count === 0) return;
        event.preventDefault();
        if (event.shiftKey) workbench.review.previous();
        else workbench.review.next();
        return;
      }
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      if (event.key.toLowerCase() === "i" && !event.shiftKey) {
        event.preventDefault();
        workbench.focusPanel();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [workbench]);

  return (
    <div className="flex h-dvh flex-col overflow-hidden">
      <Header />
      <Banners />
      <div className="flex min-h-0 flex-1">
        <aside
          aria-label="Files"
          className={cx(
            "min-h-0 w-full flex-col border-line bg-paper md:w-60 md:border-r lg:w-64",
            mobile === "files" ? "flex" : "hidden",
            filesOpen ? "md:flex" : "md:hidden",
          )}
        >
          <FilePanel />
        </aside>
        <main
          className={cx(
            "min-h-0 min-w-0 flex-1 flex-col bg-surface md:flex",
            mobile === "editor" ? "flex" : "hidden",
          )}
        >
          <EditorPane />
        </main>
        <aside
          aria-label="Agent"
          className={cx(
            "min-h-0 w-full flex-col border-line bg-paper md:w-[340px] md:border-l xl:w-[380px]",
            mobile === "agent" ? "flex" : "hidden",
            agentOpen ? "md:flex" : "md:hidden",
          )}
        >
          <AgentPanel />
        </aside>
      </div>
      <MobileBar />
      <PromptPopover />
      <Announcer />
    </div>
  );
}

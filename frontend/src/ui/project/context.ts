import { createContext, useContext } from "react";
import { useStore } from "zustand";
import type { ProjectSession } from "../../state/session.ts";
import type { SessionState } from "../../state/session-state.ts";
import type { Workbench, WorkbenchState } from "./workbench.ts";

interface Project {
  session: ProjectSession;
  workbench: Workbench;
}

export const ProjectContext = createContext<Project | null>(null);

function useProject(): Project {
  const project = useContext(ProjectContext);
  if (!project) throw new Error("this part belongs inside a project page");
  return project;
}

export const useSession = (): ProjectSession => useProject().session;
export const useWorkbench = (): Workbench => useProject().workbench;

/** Follows a part of the session. */
export function useSessionState<T>(select: (state: SessionState) => T): T {
  return useStore(useProject().session.store, select);
}

/** Follows a part of the workbench. */
export function useWorkbenchState<T>(select: (state: WorkbenchState) => T): T {
  return useStore(useProject().workbench.store, select);
}

/** May the person at this page change things? */
export function useMayEdit(): boolean {
  return useSessionState(({ you }) => you !== null && you.role !== "viewer");
}

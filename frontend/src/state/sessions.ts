/** The sessions that are open in this tab, counted by who holds them. */

import { ProjectSession } from "./session.ts";

/** A session outlives a remount by this long, as React's development mode makes them. */
const LINGER_MS = 500;

const sessions = new Map<string, { session: ProjectSession; users: number }>();

/** The session of a project, made when nobody holds one. Give it back with `releaseSession`. */
export function acquireSession(project: string): ProjectSession {
  const known = sessions.get(project) ?? { session: new ProjectSession(project), users: 0 };
  known.users += 1;
  sessions.set(project, known);
  return known.session;
}

/** Gives a session back; the last one to do so ends it. */
export function releaseSession(project: string): void {
  const known = sessions.get(project);
  if (!known) return;
  known.users -= 1;
  setTimeout(() => {
    if (known.users > 0 || sessions.get(project) !== known) return;
    sessions.delete(project);
    known.session.destroy();
  }, LINGER_MS);
}

/** Moving between pages without loading them anew. */

import { useSyncExternalStore } from "react";
import { parseRoute, type Route } from "../core/routes.ts";

/** Asked before a page is left: true lets go at once, else `go` is called later, or never. */
export type LeaveGuard = (go: () => void) => boolean;

const listeners = new Set<() => void>();
let current = parseRoute(location.pathname, location.hash);
let address = location.href;
let guard: LeaveGuard | null = null;

/** The hash of a project's address belongs to the project's page. */
const isHere = (next: Route) => JSON.stringify(next) === JSON.stringify(current);

function read(): void {
  address = location.href;
  const next = parseRoute(location.pathname, location.hash);
  if (isHere(next)) return;
  current = next;
  for (const listener of listeners) listener();
}

function go(url: string): void {
  history.pushState(null, "", url);
  read();
  scrollTo(0, 0);
}

/** The browser has changed the address already; where that may not be, it is changed back. */
function onBrowser(): void {
  const next = parseRoute(location.pathname, location.hash);
  const wanted = location.href;
  if (isHere(next) || !guard || guard(() => go(wanted))) read();
  else history.pushState(null, "", address);
}

addEventListener("popstate", onBrowser);
addEventListener("hashchange", onBrowser);

/** Goes to another page. */
export function navigate(path: string): void {
  const { pathname, hash } = new URL(path, location.href);
  if (isHere(parseRoute(pathname, hash)) || !guard || guard(() => go(path))) go(path);
}

/** Has a question asked before the page at hand is left. Returns what ends that. */
export function guardLeaving(ask: LeaveGuard): () => void {
  guard = ask;
  return () => {
    if (guard === ask) guard = null;
  };
}

/** Changes the address of the page at hand without leaving it. */
export function replaceHash(hash: string): void {
  if (location.hash === hash) return;
  history.replaceState(null, "", location.pathname + location.search + hash);
  address = location.href;
}

export function useRoute(): Route {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}

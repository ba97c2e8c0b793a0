/** Moving between pages without loading them anew. */

import { useSyncExternalStore } from "react";
import { parseRoute, type Route } from "../core/routes.ts";

const listeners = new Set<() => void>();
let current = parseRoute(location.pathname, location.hash);

function read(): void {
  const next = parseRoute(location.pathname, location.hash);
  // The hash of a project's address belongs to the project's page.
  if (JSON.stringify(next) === JSON.stringify(current)) return;
  current = next;
  for (const listener of listeners) listener();
}

addEventListener("popstate", read);
addEventListener("hashchange", read);

/** Goes to another page. */
export function navigate(path: string): void {
  history.pushState(null, "", path);
  read();
  scrollTo(0, 0);
}

/** Changes the address of the page at hand without leaving it. */
export function replaceHash(hash: string): void {
  if (location.hash === hash) return;
  history.replaceState(null, "", location.pathname + location.search + hash);
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

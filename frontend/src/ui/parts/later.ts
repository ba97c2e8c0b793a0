import { type ComponentType, useEffect, useState } from "react";

/** A page that has just been opened has better things to fetch for this long. */
const IDLE_MS = 1500;

/** What a connection that broke is given to come back. */
const AGAIN_MS = 1000;

/** Fetches a part of the page, and once more when that fails. */
export async function twice<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch {
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    return load();
  }
}

/**
 * A component that the first look at a page does without: it is fetched a little later, or at once
 * when it is wanted. `null` until it is here; without a connection it is tried again when wanted.
 */
export function useLater<P>(
  load: () => Promise<ComponentType<P>>,
  wanted: boolean,
): ComponentType<P> | null {
  const [component, setComponent] = useState<ComponentType<P> | null>(null);
  const missing = component === null;
  useEffect(() => {
    if (!missing) return;
    let gone = false;
    const fetch = () => {
      load().then(
        (found) => {
          if (!gone) setComponent(() => found);
        },
        () => {},
      );
    };
    const timer = setTimeout(fetch, wanted ? 0 : IDLE_MS);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [load, wanted, missing]);
  return component;
}

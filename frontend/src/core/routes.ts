/** The page's addresses. */

export type Route =
  | { page: "start" }
  | { page: "join"; secret: string }
  | { page: "project"; project: string }
  | { page: "unknown" };

const ID = /^[A-Za-z0-9_-]{1,64}$/;

/** Reads an address. */
export function parseRoute(pathname: string, hash: string): Route {
  if (pathname === "/" || pathname === "/index.html") return { page: "start" };
  if (pathname === "/join") return { page: "join", secret: decodeHash(hash) };
  const project = /^\/p\/([^/]+)\/?$/.exec(pathname)?.[1];
  if (project !== undefined && ID.test(project)) return { page: "project", project };
  return { page: "unknown" };
}

/** The document named in a project's address, if there is one. */
export function documentInHash(hash: string): string | null {
  const id = decodeHash(hash);
  return ID.test(id) ? id : null;
}

function decodeHash(hash: string): string {
  const raw = hash.replace(/^#/, "");
  try {
    return decodeURIComponent(raw);
  } catch {
    return raw;
  }
}

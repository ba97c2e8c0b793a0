/**
 * The invite link that came with a new project.
 * Links are secrets that the server keeps only as hashes, so it lives in memory until the page goes.
 */

const links = new Map<string, string>();

export function keepFirstLink(project: string, link: string): void {
  links.set(project, link);
}

export function firstLink(project: string): string | null {
  return links.get(project) ?? null;
}

// The files of the project that somebody wrote, for the checks beside this file.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const top = dirname(dirname(fileURLToPath(import.meta.url)));

const SKIPPED = new Set(["node_modules", "dist", "target", "data", "test-results"]);

/** Paths below a folder of the project, with `/` between folders, whose names match. */
export function* files(folder, pattern) {
  let entries;
  try {
    entries = readdirSync(join(top, folder), { withFileTypes: true });
  } catch (error) {
    if (error.code === "ENOENT") return;
    throw error;
  }
  for (const entry of entries) {
    const path = join(top, folder, entry.name);
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name)) yield* files(relative(top, path), pattern);
    } else if (pattern.test(entry.name)) {
      yield relative(top, path);
    }
  }
}

export const read = (path) => readFileSync(join(top, path), "utf8");

/** Prints what is wrong and ends with a failure, or says that nothing is. */
export function conclude(what, problems) {
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) {
    console.error(`${what}: ${problems.length} problem${problems.length === 1 ? "" : "s"}`);
    process.exit(1);
  }
  console.log(`${what}: fine`);
}

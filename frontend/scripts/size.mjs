// Reports what a first visit downloads and fails when it outgrows its budget.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

/** Initial JavaScript of the project page, in bytes after gzip. */
const BUDGET = 300 * 1024;

const dist = new URL("../dist/", import.meta.url).pathname;
const assets = join(dist, "assets");
const size = new Map();
for (const name of readdirSync(assets)) {
  size.set(name, gzipSync(readFileSync(join(assets, name)), { level: 9 }).length);
}

/** Adds a chunk and everything it imports statically. */
function collect(name, into) {
  if (into.has(name) || !size.has(name)) return into;
  into.add(name);
  const text = readFileSync(join(assets, name), "utf8");
  for (const match of text.matchAll(/(?:from|import)\s*["']\.\/([\w.-]+\.js)["']/g)) {
    collect(match[1], into);
  }
  return into;
}

const html = readFileSync(join(dist, "index.html"), "utf8");
const first = new Set();
for (const match of html.matchAll(/assets\/([\w.-]+\.js)/g)) collect(match[1], first);
const start = [...first].reduce((sum, name) => sum + size.get(name), 0);

const page = new Set(first);
for (const name of size.keys()) if (/^ProjectPage-.*\.js$/.test(name)) collect(name, page);
const project = [...page].reduce((sum, name) => sum + size.get(name), 0);

const css = [...size].filter(([n]) => n.endsWith(".css")).reduce((sum, [, s]) => sum + s, 0);
const kb = (bytes) => `${(bytes / 1024).toFixed(1)} KB`;
console.log(
  `start page JS ${kb(start)} gzip, project page JS ${kb(project)} gzip (budget ${kb(BUDGET)}), CSS ${kb(css)} gzip`,
);
if (project > BUDGET) {
  console.error("The project page's JavaScript is over its budget; see frontend/scripts/size.mjs.");
  process.exit(1);
}

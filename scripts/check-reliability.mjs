// What docs/reliability.md says is shown, is: every test, rule, file, limit and command it names exists.

import { existsSync } from "node:fs";
import { basename, join } from "node:path";

import { conclude, files, read, top } from "./walk.mjs";

const PAGE = "docs/reliability.md";
/** Words that say openly that no test shows a row. */
const OPEN = /by construction|not tested|not built|not run|partly built/;

const tests = new Set();
const sources = new Set();
for (const path of files("backend", /\.rs$/)) {
  sources.add(basename(path));
  // A test is a function below an attribute that ends in `test]` or `test(...)]`; other attributes may follow.
  const pattern = /#\[(?:\w+::)?test(?:\([^\]]*\))?\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)/g;
  for (const [, name] of read(path).matchAll(pattern)) tests.add(name);
}
for (const path of files("frontend", /\.test\.tsx?$/)) sources.add(basename(path));
// Tests of properties have no attribute of their own.
for (const path of files("backend", /\.rs$/)) {
  for (const [, body] of read(path).matchAll(/proptest! \{([\s\S]*?)\n\s*\}\n/g)) {
    for (const [, name] of body.matchAll(/fn (\w+)\(/g)) tests.add(name);
  }
}
const rules = new Set([...read("docs/behavior.md").matchAll(/^- \*\*(\w+)\*\*/gm)].map(([, id]) => id));
const targets = new Set([...read("Makefile").matchAll(/^([a-z0-9-]+):/gm)].map(([, name]) => name));
const limits = read("backend/protocol/src/limits.rs");

/** What is wrong with something in backticks, or nothing. */
function wrong(named) {
  const target = named.match(/^make ([a-z0-9-]+)/)?.[1];
  if (target) return targets.has(target) ? null : `there is no \`make ${target}\``;
  const limit = named.match(/^limits::(\w+)$/)?.[1];
  if (limit) return limits.includes(`const ${limit}:`) ? null : `there is no limit ${limit}`;
  if (named.includes("/")) return existsSync(join(top, named)) ? null : `there is no ${named}`;
  if (/\.(rs|tsx?)$/.test(named)) return sources.has(named) ? null : `there is no ${named}`;
  return tests.has(named) ? null : `there is no test \`${named}\``;
}

const problems = [];
let rows = 0;
for (const [index, line] of read(PAGE).split("\n").entries()) {
  if (!line.startsWith("|") || /^\|(-+\|)+$/.test(line) || /\| shown by \|$/.test(line)) continue;
  const say = (problem) => problems.push(`${PAGE}:${index + 1}: ${problem}`);
  const cells = line.split("|").slice(1, -1);
  rows += 1;
  if (cells.length !== 3) {
    say(`has ${cells.length} cells, and a row has three`);
    continue;
  }
  const shown = cells[2];
  const named = [...shown.matchAll(/`([^`]+)`/g)].map(([, name]) => name);
  const ids = [...shown.matchAll(/\[([A-Z][0-9]+)\]/g)].map(([, id]) => id);
  for (const id of ids.filter((id) => !rules.has(id))) say(`[${id}] is no rule`);
  for (const name of named) {
    const problem = wrong(name);
    if (problem) say(problem);
  }
  if (named.length + ids.length === 0 && !OPEN.test(shown)) say("says neither what shows it nor that nothing does");
  // What is named elsewhere in a row has to exist as well.
  for (const [, limit] of cells[1].matchAll(/`limits::(\w+)`/g)) {
    if (!limits.includes(`const ${limit}:`)) say(`there is no limit ${limit}`);
  }
}
if (rows === 0) problems.push(`${PAGE}: has no rows`);
conclude(`reliability, ${rows} faults`, problems);

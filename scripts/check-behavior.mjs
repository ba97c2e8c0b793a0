// Every rule of docs/behavior.md has a test that names it, and every id in a test is a rule.

import { conclude, files, read } from "./walk.mjs";

const RULES = "docs/behavior.md";
const ID = /\[([SPETLADC][0-9]+)\]/g;

const problems = [];
const rules = new Set();
for (const [, id] of read(RULES).matchAll(/^- \*\*([SPETLADC][0-9]+)\*\*/gm)) {
  if (rules.has(id)) problems.push(`${RULES}: ${id} is there twice`);
  rules.add(id);
}

const tested = new Map();
for (const folder of ["backend", "frontend", "scripts"]) {
  for (const path of files(folder, /\.(rs|test\.ts|test\.tsx|mjs)$/)) {
    if (path === "scripts/check-behavior.mjs") continue;
    for (const [, id] of read(path).matchAll(ID)) {
      if (!tested.has(id)) tested.set(id, path);
    }
  }
}

for (const id of rules) {
  if (!tested.has(id)) problems.push(`${RULES}: no test names [${id}]`);
}
for (const [id, path] of tested) {
  if (!rules.has(id)) problems.push(`${path}: names [${id}], which is no rule of ${RULES}`);
}

conclude(`behavior, ${rules.size} rules`, problems);

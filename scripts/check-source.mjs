// What no reviewer should have to look for: unfinished code, tests switched off, addresses in the lockfile.

import { conclude, files, read } from "./walk.mjs";

const CODE = /\.(rs|ts|tsx|mjs|js|css|html|sql|sh|toml|yml|yaml)$|^(Makefile|Dockerfile)$/;
const MARKER = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X"].join("|")})\\b`);
const OFF = /#\[ignore|\b(?:it|test|describe)\.(?:skip|only|todo)\(/;
const LOCKFILE = "frontend/package-lock.json";

const problems = [];
for (const folder of ["backend", "frontend", "migrations", "scripts"]) {
  for (const path of files(folder, CODE)) {
    // The texts that scenarios are made of are material, not code.
    if (path.includes("/scenarios/") || path === "scripts/check-source.mjs") continue;
    read(path)
      .split("\n")
      .forEach((line, index) => {
        if (MARKER.test(line)) problems.push(`${path}:${index + 1}: unfinished: ${line.trim()}`);
        if (OFF.test(line)) problems.push(`${path}:${index + 1}: switched off: ${line.trim()}`);
      });
  }
}

// Download addresses name the registry of whoever wrote the lockfile; the hashes are what counts.
if (/"resolved":\s*"https?:/.test(read(LOCKFILE))) {
  problems.push(
    `${LOCKFILE}: has download addresses; run \`npm install --package-lock-only --omit-lockfile-registry-resolved\` in frontend`,
  );
}

conclude("source", problems);

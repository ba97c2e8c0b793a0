// Arrows between crates go down only, and heavy libraries have one owner: see `docs/architecture.md`.
// Dev-dependencies are free; `bench` may name what it measures.

import { execFileSync } from "node:child_process";
import { conclude, files, read, top } from "./walk.mjs";

/** What a crate may use of ours, in shipped code. */
const MAY_USE = {
  protocol: [],
  edit: [],
  store: ["protocol"],
  cluster: ["protocol"],
  model: [],
  sync: ["protocol", "edit", "store", "cluster"],
  "demo-model": ["edit"],
  agent: ["protocol", "edit", "store", "sync", "model"],
  server: ["protocol", "edit", "store", "cluster", "sync", "model", "demo-model", "agent"],
  bench: ["protocol"],
};

/** Who may name a library. */
const OWNERS = {
  yrs: ["sync"],
  sqlx: ["store"],
  "async-nats": ["cluster"],
  axum: ["server"],
  "tower-http": ["server"],
  clap: ["server"],
  reqwest: ["model"],
  "tokio-tungstenite": ["model", "demo-model"],
  hyper: ["demo-model", "server"],
  "hyper-util": ["demo-model", "server"],
};

/** Crates that do no I/O, spawn nothing, read no clock and draw no randomness. */
const PURE = ["protocol", "edit"];
const IMPURE = /^(tokio|tokio-.*|futures.*|async-.*|rand|rand_.*|getrandom|chrono|sqlx|reqwest|hyper.*|axum.*)$/;

const metadata = JSON.parse(
  execFileSync("cargo", ["metadata", "--format-version", "1", "--no-deps", "--locked"], {
    cwd: top,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  }),
);

const problems = [];
for (const found of metadata.packages) {
  const name = found.name.replace(/^ensemble-/, "");
  const allowed = MAY_USE[name];
  if (!allowed) {
    problems.push(`${found.name}: no layer is known for this crate; add it to scripts/check-layers.mjs`);
    continue;
  }
  for (const dependency of found.dependencies) {
    if (dependency.kind === "dev") continue;
    const ours = dependency.name.match(/^ensemble-(.*)$/)?.[1];
    if (ours && !allowed.includes(ours)) {
      problems.push(`${found.name} may not use ${dependency.name}: arrows go down only`);
    }
    const owners = OWNERS[dependency.name];
    if (owners && name !== "bench" && !owners.includes(name)) {
      problems.push(`${found.name} may not name ${dependency.name}: it belongs to ${owners.join(" and ")}`);
    }
    if (PURE.includes(name) && IMPURE.test(dependency.name)) {
      problems.push(`${found.name} may not name ${dependency.name}: the crate is pure`);
    }
  }
}

// Only one file opens yrs transactions; the clients of the benchmarks are peers with documents of their own.
const YRS_FILE = "backend/sync/src/document.rs";
for (const path of files("backend", /\.rs$/)) {
  if (path === YRS_FILE || path.startsWith("backend/bench/") || !/^backend\/[^/]+\/src\//.test(path)) continue;
  // Tests below the code compare with yrs itself; they are free.
  const [code] = read(path).split("#[cfg(test)]");
  const line = code.split("\n").findIndex((text) => /^(?!\s*\/\/).*\byrs::/.test(text));
  if (line >= 0) problems.push(`${path}:${line + 1}: only ${YRS_FILE} speaks yrs`);
}

conclude("layers", problems);

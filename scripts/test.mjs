// Runs every suite, one after another, and ends with one line that counts what their own closing lines say.
// A suite that fails does not keep the others from running; any failure fails the whole.
//   node scripts/test.mjs [--long]

import { spawn } from "node:child_process";

const long = process.argv.includes("--long");
const env = { ...process.env, CI: process.env.CI ?? "true", NO_COLOR: "1", CARGO_TERM_COLOR: "never" };
delete env.FORCE_COLOR;

const suites = [
  { name: "checks", command: ["make", "check"] },
  { name: "Rust", command: ["make", "test-rust"] },
  { name: "front end", command: ["make", "test-page"] },
  { name: "stock clients", command: ["make", "test-stock"] },
  { name: "honest clients", command: ["make", "test-honest", ...(long ? ["UPDATES=1000000"] : [])] },
  { name: "kills", command: ["make", "kill-test", ...(long ? ["KILLS=1000", "FAULTS=100", "PROFILE=quick"] : [])] },
  {
    name: "hostile bytes",
    command: ["make", "hostile-test", ...(long ? ["FRAMES=1000000", "PROFILE=quick"] : ["SECONDS=30"])],
  },
  { name: "crowd", command: ["make", "crowd-test"] },
  { name: "browser", command: ["make", "e2e"] },
  ...(long ? [{ name: "random patches", command: ["make", "random-patches"] }] : []),
];

/** What tools say about tests that ran: `[passed, failed]`, or null for a line that is no such count. */
function counts(line) {
  const number = (pattern) => Number(line.match(pattern)?.[1] ?? 0);
  // cargo-nextest: `Summary [ 1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 0 skipped`.
  if (/^\s*Summary \[.*tests? run:/.test(line)) {
    return [number(/(\d+) passed/), number(/(\d+) failed/) + number(/(\d+) timed out/)];
  }
  // cargo test: `test result: ok. 5 passed; 0 failed; 0 ignored; ...`.
  if (/^test result: /.test(line)) return [number(/(\d+) passed/), number(/(\d+) failed/)];
  // vitest: `Tests  1 failed | 11 passed (12)`.
  if (/^\s*Tests\s+(\d+ (failed|passed|skipped|todo)|no tests)/.test(line)) {
    return [number(/(\d+) passed/), number(/(\d+) failed/)];
  }
  // The kill test: `30 kills survived, 0 failed`, and with a disk that fails `5 faults survived, 0 failed`.
  if (/^\d+ (kills|faults) survived, \d+ failed/.test(line)) {
    return [number(/^(\d+) /), number(/(\d+) failed/)];
  }
  // The hostile test: `1 attack survived, 0 failed`.
  if (/^\d+ attacks? survived, \d+ failed/.test(line)) {
    return [number(/^(\d+) attack/), number(/(\d+) failed/)];
  }
  // The crowd: `3 crowds lost nothing, 0 failed`.
  if (/^\d+ crowds? lost nothing, \d+ failed/.test(line)) {
    return [number(/^(\d+) crowd/), number(/(\d+) failed/)];
  }
  return null;
}

function run(suite) {
  return new Promise((resolve) => {
    const started = Date.now();
    const result = { ...suite, passed: 0, failed: 0 };
    const child = spawn(suite.command[0], suite.command.slice(1), {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const [from, to] of [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ]) {
      let rest = "";
      from.setEncoding("utf8");
      from.on("data", (text) => {
        to.write(text);
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          const count = counts(line.replace(/\u001b\[[0-9;]*m/g, ""));
          if (count) {
            result.passed += count[0];
            result.failed += count[1];
          }
        }
      });
    }
    child.on("error", (error) => {
      console.error(`${suite.command.join(" ")}: ${error.message}`);
    });
    child.on("close", (code) => {
      result.ok = code === 0;
      // A suite that failed without counting, such as a check or a build, is one failure.
      if (!result.ok && result.failed === 0) result.failed = 1;
      result.seconds = Math.round((Date.now() - started) / 1000);
      resolve(result);
    });
  });
}

const results = [];
for (const suite of suites) {
  console.log(`\n== ${suite.name}: ${suite.command.join(" ")}`);
  results.push(await run(suite));
}

console.log("");
for (const { name, ok, passed, failed, seconds } of results) {
  const time = `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const outcome = passed + failed === 0 ? "clean" : `${passed} passed, ${failed} failed`;
  console.log(`${ok ? "ok    " : "FAILED"} ${name.padEnd(14)} ${time.padStart(12)}   ${outcome}`);
}
const sum = (key) => results.reduce((total, result) => total + result[key], 0);
console.log(`\n${sum("passed")} passed, ${sum("failed")} failed`);
process.exit(results.every((result) => result.ok) ? 0 : 1);

// Sends many honest updates and prints what came of them.
//   node test/honest/long.mjs [UPDATES] [SEED]

import { spawn } from "node:child_process";
import { join } from "node:path";

const [updates = "1000000", seed] = process.argv.slice(2);
const top = join(import.meta.dirname, "..", "..");
const child = spawn("npx", ["vitest", "run", "--config", "test/honest/vitest.config.ts"], {
  cwd: top,
  stdio: "inherit",
  env: {
    ...process.env,
    HONEST_UPDATES: updates,
    ...(seed === undefined ? {} : { HONEST_SEED: seed }),
  },
});
child.on("exit", (code) => {
  process.exitCode = code ?? 1;
});

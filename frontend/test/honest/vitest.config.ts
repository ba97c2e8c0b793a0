/** A suite of its own: its length is chosen by who runs it. */

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "honest",
    dir: import.meta.dirname,
    include: ["*.suite.ts"],
    environment: "node",
    testTimeout: 4 * 3600_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    disableConsoleIntercept: true,
  },
});

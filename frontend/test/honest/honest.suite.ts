/** Real Yjs clients, doing what people and networks do, against the real server: nothing may be refused.
 *
 * `HONEST_UPDATES` says how many updates to send, `HONEST_SEED` repeats what people do, and `HONEST_REPLAY` names
 * the file of a failed story, which is then sent again instead.
 */

import { afterAll, beforeAll, expect, it } from "vitest";
import { Random } from "./random.ts";
import { replay } from "./replay.ts";
import { Stage } from "./stage.ts";
import { meetStockClients, pasteLargeFile } from "./stock.ts";
import { Story } from "./story.ts";
import { Tally } from "./tally.ts";

const UPDATES = Number(process.env.HONEST_UPDATES ?? 20_000);
const SEED = Number(process.env.HONEST_SEED ?? Date.now() % 2 ** 31);
const REPLAY = process.env.HONEST_REPLAY;
/** Documents edited at the same time. */
const AT_ONCE = 6;
/** Rounds in one document; then its people go on to another. */
const ROUNDS = 8;
/** Updates between two crashes of the server. */
const BETWEEN_CRASHES = 6000;
/** What the server says when it refuses. */
const REFUSED = "refused an update";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.start();
});
afterAll(() => stage?.close());

function refusalsLogged(): string[] {
  return stage.logged().filter((line) => line.includes(REFUSED));
}

it.runIf(REPLAY)("refuses nothing of a story told again", async () => {
  const refusals = await replay(stage, REPLAY ?? "");
  expect([...refusals, ...refusalsLogged()]).toEqual([]);
});

it.skipIf(REPLAY)("refuses no stock client", async () => {
  const text = await meetStockClients(stage, new Random(SEED));
  expect(text.length).toBeGreaterThan(1000);
  expect(refusalsLogged()).toEqual([]);
});

it.skipIf(REPLAY)("refuses no large paste", async () => {
  await pasteLargeFile(stage);
  expect(refusalsLogged()).toEqual([]);
});

it.skipIf(REPLAY)("refuses nobody honest", async () => {
  console.log(`seed ${SEED}`);
  const tally = new Tally();
  const random = new Random(SEED);
  const told: Story[] = [];
  let failed = false;
  const isEnough = () => failed || tally.updates >= UPDATES;

  const tell = async () => {
    while (!isEnough()) {
      const story = await Story.begin(stage, tally, random.below(2 ** 31));
      await story.run(isEnough, ROUNDS);
      told.push(story);
    }
  };
  const crash = async () => {
    let next = BETWEEN_CRASHES / 2;
    while (!isEnough()) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (tally.updates < next) continue;
      await stage.crash();
      next = tally.updates + BETWEEN_CRASHES;
    }
  };
  const parts = [...Array.from({ length: AT_ONCE }, () => tell()), crash()].map((part) =>
    part.catch((error) => {
      failed = true;
      throw error;
    }),
  );
  const outcomes = await Promise.allSettled(parts);
  console.log(tally.table());
  const failures = outcomes.flatMap((outcome) =>
    outcome.status === "rejected" ? [outcome.reason] : [],
  );
  if (failures.length > 0) {
    console.log(stage.logged().slice(-20).join("\n"));
    throw failures[0];
  }

  await stage.restart();
  for (const story of told) await story.compare();
  console.log(`${told.length} documents read again after a restart, all equal`);
  expect(tally.refusals).toBe(0);
  expect(refusalsLogged()).toEqual([]);
  expect(await stage.isHealthy()).toBe(true);
});

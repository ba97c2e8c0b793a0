/** Sends again, frame by frame and each after the one before was answered, what a failed story had sent. */

import { readFileSync } from "node:fs";
import { Link } from "./link.ts";
import { Random } from "./random.ts";
import type { Stage } from "./stage.ts";
import type { Entry } from "./story.ts";

/** How long an answer may take, in milliseconds. An update that waits for others is answered later. */
const PATIENCE = 500;

/** Gives what was refused, by the line of the file. */
export async function replay(stage: Stage, file: string): Promise<string[]> {
  const refusals: string[] = [];
  const document = await stage.document("replay");
  const links = new Map<number, { link: Link; saved: number; asked: boolean; refused: boolean }>();
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  for (const [line, text] of lines.entries()) {
    const entry = JSON.parse(text) as Omit<Entry, "bytes"> & { bytes?: string };
    const bytes = Buffer.from(entry.bytes ?? "", "base64");
    if (entry.what === "open") {
      links.get(entry.peer)?.link.drop();
      const member = stage.members[entry.member];
      if (!member) throw new Error(`line ${line + 1} names nobody`);
      const state = { saved: 0, asked: false, refused: false } as { link: Link } & {
        saved: number;
        asked: boolean;
        refused: boolean;
      };
      const address = `${stage.project.id}/${document}`;
      state.link = new Link(stage.socketUrl, address, new Random(1), {
        opened: () => {
          state.link.authenticate(member.token);
          // Everything: what was known then is in what is sent next.
          state.link.sync("step 1", Uint8Array.of(0));
        },
        heard: (what) => {
          if (what.type === "saved") state.saved += 1;
          if (what.type === "step 1") state.asked = true;
          if (what.type === "refused") {
            state.refused = true;
            refusals.push(`line ${line + 1} and after: ${what.reason}`);
          }
        },
        closed: () => {},
      });
      links.set(entry.peer, state);
      state.link.connect();
      await pumped(state.link, () => state.asked);
      continue;
    }
    const state = links.get(entry.peer);
    if (!state || state.refused) continue;
    const before = state.saved;
    state.link.sync(entry.what, bytes);
    await pumped(state.link, () => state.saved > before || state.refused);
  }
  for (const { link } of links.values()) link.drop();
  return refusals;
}

async function pumped(link: Link, done: () => boolean): Promise<void> {
  const end = Date.now() + PATIENCE;
  while (!done() && Date.now() < end) {
    link.pump(0);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

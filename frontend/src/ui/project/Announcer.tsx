import { useEffect, useRef, useState } from "react";
import type { Turn } from "../../core/protocol.ts";
import { totals } from "../../state/turns.ts";
import { useSession } from "./context.ts";

/** Screen readers get at most one sentence in this time, the newest. */
const EVERY_MS = 2500;

/** Tells people who listen what the agents are doing. */
export function Announcer() {
  const session = useSession();
  const [sentence, setSentence] = useState("");
  const waiting = useRef<string | null>(null);

  useEffect(() => {
    let known: Map<string, string> | null = null;
    let timer: ReturnType<typeof setTimeout> | null = null;
    const say = () => {
      timer = null;
      if (waiting.current === null) return;
      setSentence(waiting.current);
      waiting.current = null;
      timer = setTimeout(say, EVERY_MS);
    };
    const unsubscribe = session.store.subscribe((state, before) => {
      if (state.turns === before.turns && known) return;
      const now = new Map(state.turns.map((turn) => [turn.id, `${turn.status} ${turn.review}`]));
      for (const turn of state.turns) {
        // What was there when the page opened is not news.
        if (!known || known.get(turn.id) === now.get(turn.id)) continue;
        const name = turn.agent_name ?? state.agents.get(turn.agent)?.name ?? "The agent";
        waiting.current = describe(turn, name);
      }
      if (state.turnsSynced) known = now;
      if (waiting.current !== null && timer === null) say();
    });
    return () => {
      unsubscribe();
      if (timer) clearTimeout(timer);
    };
  }, [session]);

  return (
    <div aria-live="polite" className="sr-only">
      {sentence}
    </div>
  );
}

function describe(turn: Turn, name: string): string {
  const { applied, missed } = totals(turn);
  const edits = `${applied} ${applied === 1 ? "edit" : "edits"}`;
  const misses = missed > 0 ? `, ${missed} could not be placed` : "";
  if (turn.review === "rejected") return `The turn “${turn.prompt}” was rejected.`;
  if (turn.review === "accepted") return `The turn “${turn.prompt}” was accepted.`;
  if (turn.review === "mixed") return `The turn “${turn.prompt}” was accepted in part.`;
  switch (turn.status) {
    case "queued":
      return `${name} will start on “${turn.prompt}” soon.`;
    case "running":
      return `${name} works on “${turn.prompt}”.`;
    case "done":
      return `${name} is done: ${edits}${misses}.`;
    case "interrupted":
      return `${name} was stopped after ${edits}.`;
    case "failed":
      return `${name} could not finish.`;
  }
}

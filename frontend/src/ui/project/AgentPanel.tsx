import { Sparkles } from "lucide-react";
import { useEffect, useLayoutEffect, useRef } from "react";
import { useStore } from "zustand";
import { settings } from "../../state/settings.ts";
import { Avatar } from "../parts/Avatar.tsx";
import { useLater } from "../parts/later.ts";
import { useMayEdit, useSessionState, useWorkbenchState } from "./context.ts";
import { PromptForm } from "./PromptForm.tsx";
import { TurnCard } from "./TurnCard.tsx";

/** Closer to the end than this, the list follows what is added. */
const FOLLOW_PX = 80;

const loadAgentMenu = () => import("./AgentMenu.tsx").then((part) => part.AgentMenu);

export function AgentPanel() {
  const agents = useSessionState((state) => state.agents);
  const mayEdit = useMayEdit();
  const AgentMenu = useLater(
    loadAgentMenu,
    useSessionState(({ turns }) => turns.length > 0),
  );
  const asked = useWorkbenchState((state) => state.focusPrompt);
  const input = useRef<HTMLTextAreaElement>(null);
  const answered = useRef(0);
  const agent = [...agents.values()][0];

  useEffect(() => {
    if (asked === answered.current) return;
    answered.current = asked;
    input.current?.focus();
  }, [asked]);

  return (
    <>
      <div className="relative flex h-10 shrink-0 items-center gap-2 border-b border-line pr-2 pl-4">
        {agent ? (
          <Avatar name={agent.name} color={agent.color} kind="agent" size={20} />
        ) : (
          <Sparkles size={16} className="text-faint" aria-hidden="true" />
        )}
        <h2 className="min-w-0 truncate text-[13px] font-semibold">{agent?.name ?? "Agent"}</h2>
        <span className="min-w-0 truncate text-xs text-muted">
          {agent?.demo ? "demo model, works by rules" : agent?.model}
        </span>
        {agent && AgentMenu ? <AgentMenu agent={agent} /> : null}
      </div>
      <Turns />
      {mayEdit ? (
        <div className="shrink-0 border-t border-line p-3">
          <PromptForm inputRef={input} placeholder="Ask for a change or an explanation" />
        </div>
      ) : (
        <p className="shrink-0 border-t border-line px-4 py-3 text-[13px] text-muted">
          You are reading along, so you cannot ask the agent. What others ask appears here.
        </p>
      )}
    </>
  );
}

function Turns() {
  const turns = useSessionState((state) => state.turns);
  const synced = useSessionState((state) => state.turnsSynced);
  const shown = useStore(settings, (state) => `${state.mobilePanel} ${state.agentOpen}`);
  const list = useRef<HTMLDivElement>(null);
  const follows = useRef(true);

  useLayoutEffect(() => {
    const element = list.current;
    // A panel that comes into view starts at its end, since a hidden one cannot be scrolled.
    void shown;
    if (element && turns.length > 0 && follows.current) element.scrollTop = element.scrollHeight;
  }, [turns, shown]);

  if (turns.length === 0) return synced ? <Invitation /> : <div className="flex-1" />;
  return (
    <div
      ref={list}
      role="log"
      aria-label="Turns"
      aria-live="off"
      onScroll={(event) => {
        const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
        if (clientHeight === 0) return;
        follows.current = scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
      }}
      className="min-h-0 flex-1 overflow-y-auto"
    >
      {turns.map((turn) => (
        <TurnCard key={turn.id} turn={turn} />
      ))}
    </div>
  );
}

const EXAMPLES = ["rename total to subtotal", "add docstrings", "explain this"];

/** What to do when nobody has asked anything yet. */
function Invitation() {
  const mayEdit = useMayEdit();
  return (
    <div className="flex min-h-0 flex-1 flex-col justify-end gap-3 overflow-y-auto p-4">
      <p className="text-[15px] font-semibold tracking-[-0.01em]">
        {mayEdit ? "Ask, and watch it being written" : "Nobody has asked anything yet"}
      </p>
      <p className="text-[13px] leading-relaxed text-muted text-pretty">
        The agent types into the open file beside you, with a cursor of its own. You can go on
        typing, stop it, or take back exactly what it did.
      </p>
      {mayEdit ? (
        <p className="text-[13px] leading-relaxed text-muted">
          Try{" "}
          {EXAMPLES.map((example, index) => (
            <span key={example}>
              {index > 0 ? (index === EXAMPLES.length - 1 ? " or " : ", ") : ""}
              <span className="font-medium text-ink">“{example}”</span>
            </span>
          ))}
          .
        </p>
      ) : null}
    </div>
  );
}

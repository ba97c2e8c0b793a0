import { DropdownMenu } from "radix-ui";
import type { Peer } from "../../state/peers.ts";
import { isLive } from "../../state/turns.ts";
import { Avatar } from "../parts/Avatar.tsx";
import { useSession, useSessionState } from "./context.ts";

/** As many faces as fit beside each other. */
const SHOWN = 4;

interface Entry extends Peer {
  note: string;
  busy: boolean;
}

/** Who is here: people, and the agents of the project. */
export function Roster() {
  const session = useSession();
  const entries = useEntries();
  const people = entries.filter((entry) => entry.kind === "person");
  const faces = [...people.slice(0, SHOWN), ...entries.filter((entry) => entry.kind === "agent")];
  const more = people.length - Math.min(people.length, SHOWN);
  const label = `Here now: ${entries.map((entry) => entry.name).join(", ")}`;

  return (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger
        aria-label={label}
        className="flex items-center rounded-lg px-1.5 py-1 transition-colors hover:bg-hover"
      >
        <span className="flex -space-x-1">
          {faces.map((entry, index) => (
            <Avatar
              key={`${entry.kind}-${entry.id}`}
              name={entry.name}
              color={entry.color}
              kind={entry.kind}
              busy={entry.busy}
              className={`ring-2 ring-paper ${index > 1 ? "max-sm:hidden" : ""}`}
            />
          ))}
        </span>
        {more > 0 ? <span className="ml-1.5 text-xs font-medium text-muted">+{more}</span> : null}
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="end"
          sideOffset={6}
          collisionPadding={8}
          className="pop-in z-40 max-h-[70vh] w-64 overflow-y-auto rounded-xl border border-line bg-raised p-1.5 shadow-pop"
        >
          <DropdownMenu.Label className="px-2 pt-1 pb-1.5 text-xs font-medium text-muted">
            Here now
          </DropdownMenu.Label>
          {entries.map((entry) => (
            <DropdownMenu.Item
              key={`${entry.kind}-${entry.id}`}
              disabled={entry.document === null || entry.you}
              onSelect={() => session.select(entry.document)}
              className="flex items-center gap-2.5 rounded-lg px-2 py-1.5 outline-none data-[highlighted]:bg-hover"
            >
              <Avatar
                name={entry.name}
                color={entry.color}
                kind={entry.kind}
                busy={entry.busy}
                size={24}
              />
              <span className="min-w-0 flex-1">
                <span className="block truncate text-[13px] font-medium">
                  {entry.name}
                  {entry.you ? <span className="text-faint"> (you)</span> : null}
                </span>
                {entry.note ? (
                  <span className="block truncate text-xs text-muted">{entry.note}</span>
                ) : null}
              </span>
            </DropdownMenu.Item>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}

function useEntries(): Entry[] {
  const peers = useSessionState((state) => state.peers);
  const agents = useSessionState((state) => state.agents);
  const documents = useSessionState((state) => state.documents);
  const you = useSessionState((state) => state.you);
  const members = useSessionState((state) => state.members);
  const busyAgents = useSessionState((state) =>
    state.turns
      .filter(isLive)
      .map((turn) => turn.agent)
      .join(" "),
  );
  const place = (document: string | null) =>
    document === null ? "" : (documents.get(document)?.path ?? "");

  const entries: Entry[] = peers
    .filter((peer) => peer.kind === "person")
    .map((peer) => ({
      ...peer,
      note: [members.get(peer.id)?.role === "viewer" ? "reading" : "", place(peer.document)]
        .filter(Boolean)
        .join(" · "),
      busy: false,
    }));
  if (you && !entries.some((entry) => entry.id === you.id)) {
    const { id, name, color } = you;
    entries.unshift({
      id,
      name,
      color,
      kind: "person",
      document: null,
      status: null,
      you: true,
      note: "",
      busy: false,
    });
  }
  for (const agent of agents.values()) {
    const present = peers.find((peer) => peer.kind === "agent" && peer.id === agent.id);
    const busy = busyAgents.split(" ").includes(agent.id);
    entries.push({
      id: agent.id,
      name: agent.name,
      color: agent.color,
      kind: "agent",
      document: present?.document ?? null,
      status: present?.status ?? null,
      you: false,
      note: busy ? "at work" : agent.demo ? "demo model, works by rules" : agent.model,
      busy,
    });
  }
  return entries;
}

import { Check, ChevronDown, Copy, Link2, Trash2, X } from "lucide-react";
import { Dialog, DropdownMenu, ToggleGroup } from "radix-ui";
import { useCallback, useEffect, useRef, useState } from "react";
import { api } from "../../core/api.ts";
import { explain, type Told } from "../../core/errors.ts";
import type { Invite, Role } from "../../core/protocol.ts";
import { firstLink } from "../../state/first-link.ts";
import { Button, IconButton } from "../parts/Button.tsx";
import { copyText } from "../parts/copy.ts";
import { cx } from "../parts/cx.ts";
import { Problem } from "../parts/Failure.tsx";
import { ago, until } from "../parts/time.ts";
import { useSession, useSessionState } from "./context.ts";
import { RevokeDialog } from "./RevokeDialog.tsx";

const HOUR = 3600;
const DAY = 24 * HOUR;

const EXPIRIES: { label: string; seconds: number | null }[] = [
  { label: "Never expires", seconds: null },
  { label: "Expires in an hour", seconds: HOUR },
  { label: "Expires in a day", seconds: DAY },
  { label: "Expires in a week", seconds: 7 * DAY },
  { label: "Expires in 30 days", seconds: 30 * DAY },
];

const ROLES: { role: Role; label: string; meaning: string }[] = [
  { role: "editor", label: "Can edit", meaning: "types, asks the agent, invites others" },
  { role: "viewer", label: "Can read", meaning: "sees everything live, changes nothing" },
  { role: "owner", label: "Owner", meaning: "can do everything you can" },
];

interface Made {
  link: string;
  role: Role;
}

/** Invite links: made, copied, listed, revoked. */
export function ShareDialog({
  open,
  onOpenChange,
}: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
}) {
  return (
    <Dialog.Root open={open} onOpenChange={onOpenChange}>
      <Dialog.Portal>
        <Dialog.Overlay className="fade-in fixed inset-0 z-40 bg-black/40" />
        <Dialog.Content
          aria-describedby={undefined}
          // The first button is the one that closes; its name would pop up over the dialog.
          onOpenAutoFocus={(event) => {
            event.preventDefault();
            if (event.currentTarget instanceof HTMLElement) event.currentTarget.focus();
          }}
          tabIndex={-1}
          className="pop-in fixed top-1/2 left-1/2 z-50 flex max-h-[calc(100dvh-32px)] w-[calc(100vw-24px)] max-w-[460px] -translate-x-1/2 -translate-y-1/2 flex-col overflow-hidden rounded-2xl border border-line bg-raised shadow-pop outline-none"
        >
          <div className="flex items-center justify-between pt-4 pr-3 pl-5">
            <Dialog.Title className="text-base font-semibold tracking-[-0.01em]">
              Invite people
            </Dialog.Title>
            <Dialog.Close asChild>
              <IconButton label="Close" icon={X} />
            </Dialog.Close>
          </div>
          <Content />
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Content() {
  const session = useSession();
  const owner = useSessionState((state) => state.you?.role === "owner");
  const [role, setRole] = useState<Role>("editor");
  const [expiry, setExpiry] = useState<number | null>(null);
  const [made, setMade] = useState<Made | null>(() => {
    const link = firstLink(session.id);
    return link === null ? null : { link, role: "editor" };
  });
  const [invites, setInvites] = useState<Invite[] | null>(null);
  const [told, setTold] = useState<Told | null>(null);
  const [busy, setBusy] = useState(false);

  const load = useCallback(async () => {
    try {
      setInvites(await api.invites(session.id));
    } catch (error) {
      setTold(explain(error));
    }
  }, [session]);
  // Whoever comes or goes changes how many came by a link.
  const people = useSessionState((state) => [...state.members.keys()].join());
  // biome-ignore lint/correctness/useExhaustiveDependencies: `people` says when to ask again
  useEffect(() => {
    void load();
  }, [load, people]);

  const make = async () => {
    setBusy(true);
    setTold(null);
    try {
      setMade(await api.createInvite(session.id, role, expiry));
      await load();
    } catch (error) {
      setTold(explain(error));
    } finally {
      setBusy(false);
    }
  };
  const revoke = async (invite: string, members: "keep" | "remove") => {
    try {
      await api.revokeInvite(session.id, invite, members);
      await load();
    } catch (error) {
      setTold(explain(error));
    }
  };

  const roles = ROLES.filter((each) => each.role !== "owner" || owner);
  const chosen = EXPIRIES.find((each) => each.seconds === expiry) ?? EXPIRIES[0];
  return (
    <div className="flex min-h-0 flex-col gap-4 overflow-y-auto px-5 pt-2 pb-5">
      <p className="text-[13px] text-muted text-pretty">
        Whoever opens a link gives a name and is in. Links are secrets: send them only to people you
        mean.
      </p>
      <div className="flex flex-col gap-2">
        <ToggleGroup.Root
          type="single"
          value={role}
          onValueChange={(value) => {
            const next = roles.find((each) => each.role === value);
            if (next) setRole(next.role);
          }}
          aria-label="What the link allows"
          className="grid auto-cols-fr grid-flow-col gap-1 rounded-xl bg-sunken p-1"
        >
          {roles.map((each) => (
            <ToggleGroup.Item
              key={each.role}
              value={each.role}
              className="h-8 rounded-lg text-[13px] font-medium text-muted transition-colors data-[state=on]:bg-raised data-[state=on]:text-ink data-[state=on]:shadow-sm"
            >
              {each.label}
            </ToggleGroup.Item>
          ))}
        </ToggleGroup.Root>
        <p className="px-1 text-[12.5px] text-muted">
          {capital(roles.find((each) => each.role === role)?.meaning ?? "")}.
        </p>
      </div>
      <div className="flex flex-wrap items-center justify-between gap-2">
        <DropdownMenu.Root>
          <DropdownMenu.Trigger className="flex h-8 items-center gap-1.5 rounded-lg border border-line-strong px-3 text-[13px] hover:bg-hover">
            {chosen?.label}
            <ChevronDown size={14} className="text-muted" aria-hidden="true" />
          </DropdownMenu.Trigger>
          <DropdownMenu.Portal>
            <DropdownMenu.Content
              align="start"
              sideOffset={4}
              className="pop-in z-50 w-52 rounded-xl border border-line bg-raised p-1.5 shadow-pop"
            >
              <DropdownMenu.RadioGroup
                value={String(expiry)}
                onValueChange={(value) => setExpiry(value === "null" ? null : Number(value))}
              >
                {EXPIRIES.map((each) => (
                  <DropdownMenu.RadioItem
                    key={each.label}
                    value={String(each.seconds)}
                    className="flex items-center gap-2 rounded-lg px-2 py-1.5 text-[13px] outline-none data-[highlighted]:bg-hover"
                  >
                    <span className="flex-1">{each.label}</span>
                    <DropdownMenu.ItemIndicator>
                      <Check size={14} className="text-accent" aria-hidden="true" />
                    </DropdownMenu.ItemIndicator>
                  </DropdownMenu.RadioItem>
                ))}
              </DropdownMenu.RadioGroup>
            </DropdownMenu.Content>
          </DropdownMenu.Portal>
        </DropdownMenu.Root>
        <Button look={made ? "plain" : "accent"} icon={Link2} disabled={busy} onClick={make}>
          {made ? "New link" : "Create link"}
        </Button>
      </div>
      {told ? <Problem told={told} /> : null}
      {made ? <LinkField made={made} /> : null}
      <Invites invites={invites} onRevoke={revoke} />
    </div>
  );
}

/** How long the button says that it has copied. */
const COPIED_MS = 2000;

function LinkField({ made }: { made: Made }) {
  const [copied, setCopied] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), COPIED_MS);
    return () => clearTimeout(timer);
  }, [copied]);

  const copy = async () => {
    if (await copyText(made.link)) setCopied(true);
    // Selected, the link is at least quick to copy by hand.
    else field.current?.select();
  };
  const label = ROLES.find((each) => each.role === made.role)?.label ?? "";
  return (
    <div className="flex flex-col gap-1.5 rounded-xl bg-accent-soft p-3">
      <p className="text-[12.5px] font-medium">
        Link: {label.toLowerCase()}
        <span className="font-normal text-muted"> · shown only now</span>
      </p>
      <div className="flex gap-2">
        <input
          ref={field}
          readOnly
          value={made.link}
          aria-label="Invite link"
          onFocus={(event) => event.currentTarget.select()}
          className="field-ring h-8 min-w-0 flex-1 rounded-lg border border-accent-line bg-raised px-2.5 font-mono text-[12px]"
        />
        <Button look="accent" icon={copied ? Check : Copy} onClick={copy}>
          {copied ? "Copied" : "Copy"}
        </Button>
      </div>
    </div>
  );
}

function Invites({
  invites,
  onRevoke,
}: {
  invites: Invite[] | null;
  onRevoke: (invite: string, members: "keep" | "remove") => void;
}) {
  const [asked, setAsked] = useState<string | null>(null);
  const live = invites?.filter((invite) => !invite.revoked) ?? [];
  if (live.length === 0) return null;
  return (
    <section aria-labelledby="links">
      <h3 id="links" className="mb-1.5 text-[12.5px] font-medium text-muted">
        Links that work
      </h3>
      <ul className="overflow-hidden rounded-xl border border-line">
        {live.map((invite) => {
          const label = ROLES.find((each) => each.role === invite.role)?.label ?? invite.role;
          const end = until(invite.expires_at);
          return (
            <li
              key={invite.id}
              className="flex items-center gap-3 border-b border-line py-1.5 pr-1.5 pl-3 last:border-b-0"
            >
              <div className="min-w-0 flex-1">
                <p className="text-[13px] font-medium">{label}</p>
                <p
                  className={cx(
                    "truncate text-xs",
                    end === "expired" ? "text-danger" : "text-muted",
                  )}
                >
                  {uses(invite)}, {end} · made {ago(invite.created_at)}
                </p>
              </div>
              <IconButton
                label="Revoke this link"
                icon={Trash2}
                className="hover:text-danger"
                onClick={() => {
                  if (invite.members > 0) setAsked(invite.id);
                  else onRevoke(invite.id, "keep");
                }}
              />
            </li>
          );
        })}
      </ul>
      <RevokeDialog
        key={asked}
        invite={live.find((invite) => invite.id === asked) ?? null}
        onRevoke={onRevoke}
        onClose={() => setAsked(null)}
      />
    </section>
  );
}

function uses(invite: Invite): string {
  const of = invite.max_uses === null ? "" : ` of ${invite.max_uses}`;
  return invite.uses === 0 && !of
    ? "not used yet"
    : `used ${invite.uses === 1 && !of ? "once" : `${invite.uses}${of} times`}`;
}

function capital(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

import { Code, Files, type LucideIcon, Sparkles } from "lucide-react";
import { useStore } from "zustand";
import { type MobilePanel, settings, showMobilePanel } from "../../state/settings.ts";
import { isLive } from "../../state/turns.ts";
import { cx } from "../parts/cx.ts";
import { useSessionState } from "./context.ts";

const TABS: { panel: MobilePanel; label: string; icon: LucideIcon }[] = [
  { panel: "files", label: "Files", icon: Files },
  { panel: "editor", label: "Editor", icon: Code },
  { panel: "agent", label: "Agent", icon: Sparkles },
];

/** On narrow screens one panel is shown at a time; this chooses which. */
export function MobileBar() {
  const shown = useStore(settings, (state) => state.mobilePanel);
  const busy = useSessionState((state) => state.turns.some(isLive));
  return (
    <nav
      aria-label="Panels"
      className="grid shrink-0 grid-cols-3 border-t border-line bg-paper pb-[env(safe-area-inset-bottom)] md:hidden"
    >
      {TABS.map(({ panel, label, icon: Icon }) => (
        <button
          key={panel}
          type="button"
          aria-current={shown === panel ? "true" : undefined}
          onClick={() => showMobilePanel(panel)}
          className={cx(
            "flex h-[52px] flex-col items-center justify-center gap-0.5 text-[11px] font-medium -outline-offset-2",
            shown === panel ? "text-accent" : "text-muted",
          )}
        >
          <span className="relative">
            <Icon size={19} strokeWidth={1.9} aria-hidden="true" />
            {panel === "agent" && busy ? (
              <span className="breathe absolute -top-0.5 -right-1.5 size-2 rounded-full bg-accent" />
            ) : null}
          </span>
          {label}
        </button>
      ))}
    </nav>
  );
}

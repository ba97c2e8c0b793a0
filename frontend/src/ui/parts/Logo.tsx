/** Three carets of different height: several people writing at once. */
export function Mark({ size = 24 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" className="shrink-0">
      <rect width="24" height="24" rx="6.5" fill="var(--accent)" />
      <g fill="var(--accent-ink)">
        <rect x="6" y="8.5" width="3" height="7" rx="1.5" />
        <rect x="10.5" y="5" width="3" height="14" rx="1.5" />
        <rect x="15" y="10" width="3" height="4.5" rx="1.5" />
      </g>
    </svg>
  );
}

export function Logo() {
  return (
    <span className="inline-flex items-center gap-2.5">
      <Mark />
      <span className="text-[15px] font-semibold tracking-[-0.015em]">Ensemble</span>
    </span>
  );
}

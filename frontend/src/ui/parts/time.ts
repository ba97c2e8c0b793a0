/** How long ago something was, in words. */
export function ago(moment: string, now = Date.now()): string {
  const then = Date.parse(moment);
  if (Number.isNaN(then)) return "";
  const seconds = Math.round((now - then) / 1000);
  if (seconds < 45) return "just now";
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.round(minutes / 60);
  if (hours < 24) return hours === 1 ? "an hour ago" : `${hours} hours ago`;
  const days = Math.round(hours / 24);
  if (days < 30) return days === 1 ? "yesterday" : `${days} days ago`;
  return new Date(then).toLocaleDateString(undefined, { dateStyle: "medium" });
}

/** When something ends, in words. */
export function until(moment: string | null, now = Date.now()): string {
  if (moment === null) return "does not expire";
  const end = Date.parse(moment);
  if (Number.isNaN(end)) return "";
  const hours = Math.round((end - now) / 3_600_000);
  if (end <= now) return "expired";
  if (hours < 1) return "expires within the hour";
  if (hours < 48) return hours === 1 ? "expires in an hour" : `expires in ${hours} hours`;
  return `expires in ${Math.round(hours / 24)} days`;
}

/** A moment of today as people read it from a clock. */
export function clock(moment: number | null): string {
  if (moment === null) return "";
  return new Date(moment).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}

import { useEffect, useState } from "react";

/** True once something has lasted: `since` is when it began, or `null` while it is not so. */
export function useLasting(since: number | null, milliseconds: number): boolean {
  const [lasting, setLasting] = useState(false);
  useEffect(() => {
    if (since === null) {
      setLasting(false);
      return;
    }
    const timer = setTimeout(
      () => setLasting(true),
      Math.max(0, since + milliseconds - Date.now()),
    );
    return () => clearTimeout(timer);
  }, [since, milliseconds]);
  return lasting;
}

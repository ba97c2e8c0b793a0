/** The nonce that style elements need under the page's policy; empty where there is none. */
export function pageNonce(): string {
  if (typeof document === "undefined") return "";
  const content = document.querySelector('meta[name="csp-nonce"]')?.getAttribute("content") ?? "";
  return content.startsWith("__") ? "" : content;
}

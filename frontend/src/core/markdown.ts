/**
 * The little Markdown that models write, as plain data.
 * There is no HTML and there are no links or images in it: an answer is text of an untrusted
 * author, and nothing in it may load or lead anywhere.
 */

export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "strong"; text: string }
  | { kind: "em"; text: string };

export type Block =
  | { kind: "paragraph"; inline: Inline[] }
  | { kind: "heading"; inline: Inline[] }
  | { kind: "quote"; inline: Inline[] }
  | { kind: "list"; ordered: boolean; items: Inline[][] }
  | { kind: "code"; language: string; text: string };

const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^#{1,6}\s+(.*)$/;
const BULLET = /^\s{0,6}[-*+]\s+(.*)$/;
const NUMBER = /^\s{0,6}\d{1,4}[.)]\s+(.*)$/;
const QUOTE = /^>\s?(.*)$/;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\s][^*\n]*)\*(?!\w)/g;

/** Reads blocks; an unfinished fence, as while streaming, runs to the end. */
export function parseMarkdown(source: string): Block[] {
  const blocks: Block[] = [];
  const lines = source.split("\n");
  let paragraph: string[] = [];
  const endParagraph = () => {
    const text = paragraph.join("\n").trim();
    paragraph = [];
    if (text) blocks.push({ kind: "paragraph", inline: parseInline(text) });
  };

  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    const fence = FENCE.exec(line);
    if (fence) {
      endParagraph();
      const mark = fence[1] ?? "```";
      const body: string[] = [];
      while (++at < lines.length && !(lines[at] ?? "").trimStart().startsWith(mark)) {
        body.push(lines[at] ?? "");
      }
      blocks.push({ kind: "code", language: fence[2] ?? "", text: body.join("\n") });
      continue;
    }
    const heading = HEADING.exec(line);
    const quote = QUOTE.exec(line);
    const bullet = BULLET.exec(line);
    const number = NUMBER.exec(line);
    if (heading || quote || bullet || number) endParagraph();
    if (heading) blocks.push({ kind: "heading", inline: parseInline(heading[1] ?? "") });
    else if (quote) blocks.push({ kind: "quote", inline: parseInline(quote[1] ?? "") });
    else if (bullet || number) {
      const ordered = bullet === null;
      const item = parseInline((bullet ?? number)?.[1] ?? "");
      const last = blocks.at(-1);
      if (last?.kind === "list" && last.ordered === ordered) last.items.push(item);
      else blocks.push({ kind: "list", ordered, items: [item] });
    } else if (line.trim() === "") endParagraph();
    else paragraph.push(line);
  }
  endParagraph();
  return blocks;
}

/** Reads code, bold and emphasis inside one line or paragraph. */
export function parseInline(source: string): Inline[] {
  const parts: Inline[] = [];
  let from = 0;
  for (const match of source.matchAll(INLINE)) {
    if (match.index > from) parts.push({ kind: "text", text: source.slice(from, match.index) });
    if (match[1] !== undefined) parts.push({ kind: "code", text: match[1] });
    else if (match[2] !== undefined) parts.push({ kind: "strong", text: match[2] });
    else parts.push({ kind: "em", text: match[3] ?? "" });
    from = match.index + match[0].length;
  }
  if (from < source.length) parts.push({ kind: "text", text: source.slice(from) });
  return parts;
}

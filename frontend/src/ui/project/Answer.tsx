import { memo, useMemo } from "react";
import { type Block, type Inline, parseMarkdown } from "../../core/markdown.ts";

/** A model's answer, as text nodes: nothing in it is markup of the page. */
export const Answer = memo(function Answer({ text, live }: { text: string; live: boolean }) {
  const blocks = useMemo(() => parseMarkdown(text), [text]);
  return (
    <div className="flex flex-col gap-2 text-[13px] leading-relaxed [overflow-wrap:anywhere]">
      {blocks.map((block, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a streamed answer only grows at its end.
        <BlockView key={index} block={block} />
      ))}
      {live ? <span className="caret-blink h-3.5 w-[7px] rounded-[1px] bg-accent" /> : null}
    </div>
  );
});

function BlockView({ block }: { block: Block }) {
  switch (block.kind) {
    case "heading":
      return (
        <p className="pt-1 font-semibold">
          <Line inline={block.inline} />
        </p>
      );
    case "quote":
      return (
        <p className="border-l-2 border-line-strong pl-3 text-muted">
          <Line inline={block.inline} />
        </p>
      );
    case "code":
      return (
        <pre className="overflow-x-auto rounded-lg bg-sunken px-3 py-2 font-mono text-[12px] leading-[1.55]">
          {block.text}
        </pre>
      );
    case "list": {
      const items = block.items.map((item, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a streamed answer only grows at its end.
        <li key={index} className="pl-0.5 marker:text-faint">
          <Line inline={item} />
        </li>
      ));
      return block.ordered ? (
        <ol className="flex list-decimal flex-col gap-0.5 pl-5">{items}</ol>
      ) : (
        <ul className="flex list-disc flex-col gap-0.5 pl-5">{items}</ul>
      );
    }
    case "paragraph":
      return (
        <p className="whitespace-pre-wrap">
          <Line inline={block.inline} />
        </p>
      );
  }
}

function Line({ inline }: { inline: Inline[] }) {
  return inline.map((part, index) => {
    switch (part.kind) {
      case "code":
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: a streamed answer only grows at its end.
          <code key={index} className="rounded bg-sunken px-1 py-px font-mono text-[12px]">
            {part.text}
          </code>
        );
      case "strong":
        // biome-ignore lint/suspicious/noArrayIndexKey: a streamed answer only grows at its end.
        return <strong key={index}>{part.text}</strong>;
      case "em":
        // biome-ignore lint/suspicious/noArrayIndexKey: a streamed answer only grows at its end.
        return <em key={index}>{part.text}</em>;
      case "text":
        return part.text;
    }
    return null;
  });
}

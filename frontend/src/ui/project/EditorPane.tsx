import type { EditorView } from "@codemirror/view";
import { FilePlus, FileText, Lock, Sparkles, TriangleAlert } from "lucide-react";
import { type CSSProperties, useEffect, useRef, useState } from "react";
import { explainCode } from "../../core/errors.ts";
import { pageNonce } from "../../core/nonce.ts";
import { undoOf } from "../../editor/collab/undo.ts";
import { languageOf } from "../../editor/languages/languages.ts";
import { createEditor, setLanguage, setReadOnly } from "../../editor/setup.ts";
import type { OpenDocument } from "../../state/open-document.ts";
import { Button } from "../parts/Button.tsx";
import { copyText } from "../parts/copy.ts";
import { downloadText } from "../parts/download.ts";
import { keyName } from "../parts/keys.ts";
import { useLater } from "../parts/later.ts";
import { Notice } from "../parts/Notice.tsx";
import { ago } from "../parts/time.ts";
import { personOf } from "./attribution-desk.ts";
import {
  useMayEdit,
  useSession,
  useSessionState,
  useWorkbench,
  useWorkbenchState,
} from "./context.ts";
import { ReviewBar } from "./ReviewBar.tsx";
import { ViewMenu } from "./ViewMenu.tsx";

const loadAsideNotice = () => import("./AsideNotice.tsx").then((part) => part.AsideNotice);

/** The open document, or what to do when there is none. */
export function EditorPane() {
  const session = useSession();
  const current = useSessionState((state) => state.current);
  // The replica's key, since a replaced replica has the same document.
  const key = useSessionState(({ open }) => (current === null ? null : open.get(current)?.key));
  const hasText = useSessionState(({ open }) => open.get(current ?? "")?.hasText ?? false);
  const loading = useSessionState(({ open }) => open.get(current ?? "")?.phase === "loading");
  const document = current === null ? null : session.document(current);
  const isAside = useSessionState((state) => state.asides.length > 0);
  const AsideNotice = useLater(loadAsideNotice, isAside);
  if (!document || document.key !== key) return <NoDocument />;
  return (
    <>
      <PaneHeader />
      <DocumentNotice document={document} />
      {AsideNotice ? <AsideNotice document={document.id} /> : null}
      {hasText ? <Editor key={document.key} document={document} /> : loading ? <Waiting /> : null}
    </>
  );
}

function PaneHeader() {
  const workbench = useWorkbench();
  const path = useSessionState((state) =>
    state.current === null ? "" : (state.documents.get(state.current)?.path ?? ""),
  );
  const selected = useWorkbenchState((state) => state.lines !== null);
  const mayEdit = useMayEdit();
  const cut = path.lastIndexOf("/") + 1;
  return (
    <div className="flex h-10 shrink-0 items-center gap-2 border-b border-line pr-2 pl-4">
      <FileText size={15} className="shrink-0 text-faint" aria-hidden="true" />
      <h2 className="min-w-0 truncate text-[13px]">
        <span className="text-faint">{path.slice(0, cut)}</span>
        <span className="font-medium">{path.slice(cut)}</span>
      </h2>
      <span className="hidden text-xs text-faint sm:inline">{languageOf(path)?.name}</span>
      <div className="flex-1" />
      {mayEdit && selected ? (
        <Button
          look="quiet"
          size="small"
          icon={Sparkles}
          // The pointer must not take the selection away before it is used.
          onPointerDown={(event) => event.preventDefault()}
          onClick={() => workbench.openPrompt()}
        >
          Ask about the selection
          <kbd className="hidden font-sans text-[11px] text-faint sm:inline">
            {keyName("Mod K")}
          </kbd>
        </Button>
      ) : null}
      <ViewMenu />
    </div>
  );
}

function Editor({ document }: { document: OpenDocument }) {
  const session = useSession();
  const workbench = useWorkbench();
  const agentColor = useSessionState(({ agents }) => [...agents.values()][0]?.color ?? null);
  const place = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<EditorView | null>(null);
  const [tooLarge, setTooLarge] = useState(false);
  const mayEdit = useMayEdit();
  const path = useSessionState((state) => state.documents.get(document.id)?.path ?? "");
  const locked = useSessionState(({ open }) => {
    const state = open.get(document.id);
    return !state || state.readOnly || state.phase !== "ready";
  });
  const readOnly = locked || !mayEdit;
  const you = useSessionState((state) => state.you);
  const first = useRef({ path, readOnly, you });

  useEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const { text, awareness } = document;
    const made = createEditor({
      parent,
      path: first.current.path,
      collab: {
        text,
        undo: undoOf(text),
        marks: document.isAgentWriting,
        onTooLarge: () => setTooLarge(true),
        onTyped: () => {
          session.forgetOwnTurn();
          workbench.review.onTyped();
        },
        beforeUndo: workbench.review.beforeUndo,
      },
      awareness,
      readOnly: first.current.readOnly,
      prompt: { onPlace: workbench.placePrompt, onFocusPanel: workbench.focusPanel },
      review: { onChange: workbench.review.onChange, onVerdict: workbench.review.onVerdict },
      attribution: {
        you: first.current.you && personOf(first.current.you),
        ago,
        onSaid: workbench.say,
      },
      nonce: pageNonce(),
      onSelection: workbench.onSelection,
    });
    restorePlace(made, document);
    workbench.show(document, made);
    setView(made);
    return () => {
      const { anchor, head } = made.state.selection.main;
      document.place = { anchor, head, scrollTop: made.scrollDOM.scrollTop };
      workbench.hide(made);
      made.destroy();
    };
  }, [document, workbench, session]);

  useEffect(() => {
    if (view) setReadOnly(view, readOnly);
  }, [view, readOnly]);
  useEffect(() => {
    if (view && path && path !== first.current.path) {
      first.current.path = path;
      void setLanguage(view, path);
    }
  }, [view, path]);
  useEffect(() => {
    if (!tooLarge) return;
    const timer = setTimeout(() => setTooLarge(false), 6000);
    return () => clearTimeout(timer);
  }, [tooLarge]);

  return (
    <>
      {tooLarge ? (
        <Notice icon={<TriangleAlert size={16} aria-hidden="true" />} title="That is too much text">
          A file holds about two million characters here. Nothing was inserted.
        </Notice>
      ) : null}
      <div
        ref={place}
        data-document={document.id}
        className="min-h-0 flex-1 overflow-hidden"
        style={agentColors(agentColor)}
      />
      <ReviewBar />
    </>
  );
}

/** What an agent wrote is marked in the agent's own color. */
function agentColors(color: string | null): CSSProperties {
  if (color === null) return {};
  return {
    "--agent-soft": `color-mix(in oklab, ${color} 13%, transparent)`,
    "--agent-line": `color-mix(in oklab, ${color} 45%, transparent)`,
    "--inserted": `color-mix(in oklab, ${color} 7%, transparent)`,
    "--inserted-line": color,
  } as CSSProperties;
}

function restorePlace(view: EditorView, document: OpenDocument): void {
  const { place } = document;
  if (!place) return;
  const length = view.state.doc.length;
  view.dispatch({
    selection: { anchor: Math.min(place.anchor, length), head: Math.min(place.head, length) },
  });
  requestAnimationFrame(() => {
    view.scrollDOM.scrollTop = place.scrollTop;
  });
}

/** What stands between the person and this document, if anything does. */
function DocumentNotice({ document }: { document: OpenDocument }) {
  const session = useSession();
  const phase = useSessionState((state) => state.open.get(document.id)?.phase ?? "loading");
  const reason = useSessionState((state) => state.open.get(document.id)?.reason ?? "");
  const readOnly = useSessionState((state) => state.open.get(document.id)?.readOnly ?? false);
  const waiting = useSessionState((state) => state.open.get(document.id)?.waiting ?? false);
  const path = useSessionState((state) => state.documents.get(document.id)?.path ?? "");
  // A deleted file has no path any more, but what is saved of it still wants a name.
  const lastPath = useRef(path);
  if (path) lastPath.current = path;
  const unsaved = useSessionState((state) => (state.open.get(document.id)?.unsaved ?? 0) > 0);
  const role = useSessionState((state) => state.you?.role);
  const icon = <TriangleAlert size={16} aria-hidden="true" />;
  if (phase === "denied") {
    const told = explainCode(reason, "The server does not open this file for you");
    return (
      <Notice
        icon={icon}
        title={told.title}
        action={<Button onClick={() => document.reattach()}>Try again</Button>}
      >
        {told.action}
      </Notice>
    );
  }
  if (phase === "closed" && unsaved && reason === "document_not_found") {
    const name = lastPath.current.split("/").at(-1) || "text.txt";
    return (
      <Notice
        icon={icon}
        title="Somebody deleted this file before your last changes were saved"
        action={
          <>
            <Button onClick={() => downloadText(name, document.text.toString())}>Download</Button>
            <Button onClick={() => void copyText(document.text.toString())}>Copy</Button>
            <Button look="quiet" onClick={() => session.discard(document.id)}>
              Discard
            </Button>
          </>
        }
      >
        Its text is only in this page now.
      </Notice>
    );
  }
  if (phase === "closed") {
    return (
      <Notice
        icon={icon}
        title="The server closed this file"
        action={<Button onClick={() => document.reattach()}>Open it again</Button>}
      >
        {explainCode(reason, "It may have been moved, deleted or reset.").title}
      </Notice>
    );
  }
  if (waiting) {
    return (
      <Notice
        icon={icon}
        title={reason === "rate_limited" ? "Too much at once" : "The server is busy"}
        action={<Button onClick={() => document.reattach()}>Try now</Button>}
      >
        This page asks again by itself in a few seconds. You can go on typing.
      </Notice>
    );
  }
  if (readOnly && phase === "ready" && role !== undefined && role !== "viewer") {
    return (
      <Notice icon={icon} title="This file is damaged on the server and can only be read">
        You see what could be read of it. Copy what you need into another file, and ask whoever runs
        the server to look at it.
      </Notice>
    );
  }
  if (role === "viewer") {
    return (
      <div className="flex shrink-0 items-center gap-2 border-b border-line bg-sunken px-4 py-1.5 text-[12.5px] text-muted">
        <Lock size={13} aria-hidden="true" />
        You are reading along. To write, ask the owner for a link that can edit.
      </div>
    );
  }
  return null;
}

function Waiting() {
  return (
    <div className="flex flex-col gap-3 p-8" role="status" aria-label="Loading the text">
      {[42, 64, 30, 55, 48].map((width) => (
        <div
          key={width}
          className="breathe h-3 rounded-full bg-sunken"
          style={{ width: `${width}%` }}
        />
      ))}
    </div>
  );
}

function NoDocument() {
  const workbench = useWorkbench();
  const synced = useSessionState((state) => state.treeSynced);
  const empty = useSessionState((state) => state.documents.size === 0);
  const mayEdit = useMayEdit();
  if (!synced) return <Waiting />;
  return (
    <div className="flex flex-1 flex-col items-center justify-center gap-4 p-8 text-center">
      <span className="flex size-12 items-center justify-center rounded-2xl bg-accent-soft text-accent">
        <FilePlus size={22} aria-hidden="true" />
      </span>
      <div className="flex max-w-xs flex-col gap-1">
        <p className="font-semibold">
          {empty ? "This project has no files yet" : "No file is open"}
        </p>
        <p className="text-[13px] text-muted text-pretty">
          {!mayEdit
            ? "When somebody makes one, it appears in the list of files."
            : empty
              ? "Make the first one, paste some code into it, and send the link to somebody."
              : "Choose one from the list of files, or make a new one."}
        </p>
      </div>
      {mayEdit ? (
        <Button look={empty ? "accent" : "plain"} icon={FilePlus} onClick={workbench.newFile}>
          New file
        </Button>
      ) : null}
    </div>
  );
}

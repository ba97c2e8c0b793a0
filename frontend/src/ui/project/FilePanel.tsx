import {
  ChevronRight,
  Ellipsis,
  FilePlus,
  FileText,
  Folder,
  FolderOpen,
  Pencil,
  Trash2,
} from "lucide-react";
import { DropdownMenu } from "radix-ui";
import { type KeyboardEvent, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { buildTree, folderOf, type TreeNode, type TreeRow, visibleRows } from "../../core/tree.ts";
import { showMobilePanel } from "../../state/settings.ts";
import { Button, IconButton } from "../parts/Button.tsx";
import { cx } from "../parts/cx.ts";
import { useLater } from "../parts/later.ts";
import {
  useMayEdit,
  useSession,
  useSessionState,
  useWorkbench,
  useWorkbenchState,
} from "./context.ts";
import { NameForm } from "./NameForm.tsx";

/** What is being named in the list: a new file, or one that is there. */
type Naming = { kind: "new"; start: string } | { kind: "rename"; id: string; start: string };

const loadDeleteDialog = () => import("./DeleteDialog.tsx").then((part) => part.DeleteDialog);

/** Letters typed closer together than this search for one name. */
const TYPE_AHEAD_MS = 700;

export function FilePanel() {
  const session = useSession();
  const workbench = useWorkbench();
  const documents = useSessionState((state) => state.documents);
  const current = useSessionState((state) => state.current);
  const synced = useSessionState((state) => state.treeSynced);
  const mayEdit = useMayEdit();
  const asked = useWorkbenchState((state) => state.newFile);
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [naming, setNaming] = useState<Naming | null>(null);
  const [deleting, setDeleting] = useState<{ id: string; path: string } | null>(null);
  const DeleteDialog = useLater(loadDeleteDialog, deleting !== null);
  const answered = useRef(0);

  const rows = useMemo(
    () => visibleRows(buildTree(documents.values()), closed),
    [documents, closed],
  );

  useEffect(() => {
    if (asked === answered.current) return;
    answered.current = asked;
    const path = session.store.getState().documents.get(session.store.getState().current ?? "");
    setNaming({ kind: "new", start: path ? folderOf(path.path) : "" });
  }, [asked, session]);

  const toggle = useCallback((path: string, open: boolean) => {
    setClosed((before) => {
      const next = new Set(before);
      if (open) next.delete(path);
      else next.add(path);
      return next;
    });
  }, []);
  const open = useCallback(
    (id: string) => {
      session.select(id);
      showMobilePanel("editor");
    },
    [session],
  );

  return (
    <>
      <div className="flex h-10 shrink-0 items-center justify-between pr-2 pl-4">
        <h2 className="text-[12.5px] font-medium text-muted">Files</h2>
        {mayEdit ? (
          <IconButton label="New file" icon={FilePlus} onClick={workbench.newFile} />
        ) : null}
      </div>
      <div className="min-h-0 flex-1 overflow-y-auto px-2 pb-3">
        {naming?.kind === "new" ? (
          <NameForm
            label="Path of the new file"
            start={naming.start}
            placeholder="src/main.py"
            onDone={() => setNaming(null)}
            onName={async (path) => {
              const id = await session.createDocument(path);
              open(id);
            }}
          />
        ) : null}
        <Tree
          rows={rows}
          current={current}
          mayEdit={mayEdit}
          naming={naming}
          onOpen={open}
          onToggle={toggle}
          onRename={(id, path) => setNaming({ kind: "rename", id, start: path })}
          onRenamed={() => setNaming(null)}
          onDelete={(id, path) => setDeleting({ id, path })}
        />
        {synced && rows.length === 0 && naming === null ? (
          <div className="px-2 py-3 text-[13px] text-muted">
            <p>No files yet.</p>
            {mayEdit ? (
              <Button className="mt-3" icon={FilePlus} onClick={workbench.newFile}>
                New file
              </Button>
            ) : null}
          </div>
        ) : null}
      </div>
      {DeleteDialog ? <DeleteDialog target={deleting} onClose={() => setDeleting(null)} /> : null}
    </>
  );
}

interface TreeProps {
  rows: TreeRow[];
  current: string | null;
  mayEdit: boolean;
  naming: Naming | null;
  onOpen: (id: string) => void;
  onToggle: (path: string, open: boolean) => void;
  onRename: (id: string, path: string) => void;
  onRenamed: () => void;
  onDelete: (id: string, path: string) => void;
}

/** The key of a row; a file and a folder may have the same path. */
function keyOf(node: TreeNode): string {
  return `${node.kind}:${node.path}`;
}

function Tree(props: TreeProps) {
  const { rows, current, onOpen, onToggle, onRename, onDelete, mayEdit } = props;
  const session = useSession();
  const root = useRef<HTMLDivElement>(null);
  const [focused, setFocused] = useState<string | null>(null);
  const typed = useRef({ text: "", at: 0 });
  // One row can be reached with Tab: the one that had the focus, else the open file.
  const entrance =
    rows.find(({ node }) => keyOf(node) === focused) ??
    rows.find(({ node }) => node.kind === "file" && node.id === current) ??
    rows[0];

  const focusRow = (row: TreeRow | undefined) => {
    if (!row) return;
    setFocused(keyOf(row.node));
    root.current
      ?.querySelector<HTMLElement>(`[data-row="${CSS.escape(keyOf(row.node))}"]`)
      ?.focus();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (
      event.target instanceof HTMLInputElement ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey
    ) {
      return;
    }
    const at = rows.findIndex(({ node }) => keyOf(node) === focused);
    const row = rows[at];
    if (!row) return;
    const { node } = row;
    switch (event.key) {
      case "ArrowDown":
        focusRow(rows[at + 1]);
        break;
      case "ArrowUp":
        focusRow(rows[at - 1]);
        break;
      case "Home":
        focusRow(rows[0]);
        break;
      case "End":
        focusRow(rows.at(-1));
        break;
      case "ArrowRight":
        if (node.kind === "folder" && !row.expanded) onToggle(node.path, true);
        else if (node.kind === "folder") focusRow(rows[at + 1]);
        break;
      case "ArrowLeft":
        if (node.kind === "folder" && row.expanded) onToggle(node.path, false);
        else focusRow(rows.slice(0, at).findLast((above) => above.level < row.level));
        break;
      case "Enter":
      case " ":
        if (node.kind === "folder") onToggle(node.path, !row.expanded);
        else onOpen(node.id);
        break;
      case "F2":
        if (!mayEdit || node.kind !== "file") return;
        onRename(node.id, node.path);
        break;
      case "Delete":
        if (!mayEdit || node.kind !== "file") return;
        onDelete(node.id, node.path);
        break;
      default: {
        if (event.key.length !== 1) return;
        const now = Date.now();
        const text =
          now - typed.current.at < TYPE_AHEAD_MS ? typed.current.text + event.key : event.key;
        typed.current = { text, at: now };
        const order = [...rows.slice(at + 1), ...rows.slice(0, at + 1)];
        focusRow(order.find((each) => each.node.name.toLowerCase().startsWith(text.toLowerCase())));
      }
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div ref={root} role="tree" aria-label="Files of the project" onKeyDown={onKeyDown}>
      {rows.map((row) => {
        const { node } = row;
        const key = keyOf(node);
        if (
          props.naming?.kind === "rename" &&
          node.kind === "file" &&
          node.id === props.naming.id
        ) {
          const { id } = props.naming;
          return (
            <NameForm
              key={key}
              label={`New path of ${node.path}`}
              start={props.naming.start}
              placeholder=""
              onDone={props.onRenamed}
              onName={(path) => session.renameDocument(id, path)}
            />
          );
        }
        return (
          <Row
            key={key}
            row={row}
            selected={node.kind === "file" && node.id === current}
            reachable={entrance === row}
            onFocus={() => setFocused(key)}
            {...props}
          />
        );
      })}
    </div>
  );
}

function Row({
  row,
  selected,
  reachable,
  mayEdit,
  onFocus,
  onOpen,
  onToggle,
  onRename,
  onDelete,
}: TreeProps & { row: TreeRow; selected: boolean; reachable: boolean; onFocus: () => void }) {
  const { node, level, expanded, position, siblings } = row;
  const file = node.kind === "file" ? node : null;
  const Icon = file ? FileText : expanded ? FolderOpen : Folder;
  return (
    <div
      role="treeitem"
      tabIndex={reachable ? 0 : -1}
      data-row={keyOf(node)}
      aria-level={level}
      aria-posinset={position}
      aria-setsize={siblings}
      aria-selected={selected}
      {...(file ? {} : { "aria-expanded": expanded })}
      onFocus={onFocus}
      onClick={() => (file ? onOpen(file.id) : onToggle(node.path, !expanded))}
      onKeyDown={() => {
        // The tree handles keys for all its rows.
      }}
      className={cx(
        "group flex h-8 cursor-pointer items-center gap-1.5 rounded-lg pr-1 text-[13px] -outline-offset-2 select-none md:h-[30px]",
        selected ? "bg-accent-soft font-medium text-ink" : "text-ink hover:bg-hover",
      )}
      style={{ paddingLeft: `${8 + (level - 1) * 14}px` }}
    >
      {file ? (
        <span className="w-3" />
      ) : (
        <ChevronRight
          size={12}
          strokeWidth={2.4}
          aria-hidden="true"
          className={cx("shrink-0 text-faint transition-transform", expanded && "rotate-90")}
        />
      )}
      <Icon
        size={15}
        aria-hidden="true"
        className={cx("shrink-0", selected ? "text-accent" : "text-faint")}
      />
      <span className="min-w-0 flex-1 truncate">{node.name}</span>
      {file ? <PeopleThere document={file.id} /> : null}
      {file && mayEdit ? (
        <DropdownMenu.Root>
          <DropdownMenu.Trigger
            aria-label={`More for ${node.name}`}
            tabIndex={-1}
            onClick={(event) => event.stopPropagation()}
            className={cx(
              "flex size-6 shrink-0 items-center justify-center rounded-md text-muted hover:bg-hover hover:text-ink focus-visible:opacity-100 data-[state=open]:opacity-100",
              selected ? "opacity-100" : "opacity-0 group-hover:opacity-100 max-md:opacity-100",
            )}
          >
            <Ellipsis size={15} aria-hidden="true" />
          </DropdownMenu.Trigger>
          <DropdownMenu.Portal>
            <DropdownMenu.Content
              align="start"
              sideOffset={4}
              onClick={(event) => event.stopPropagation()}
              onKeyDown={(event) => event.stopPropagation()}
              // The form or dialog that follows wants the focus itself.
              onCloseAutoFocus={(event) => event.preventDefault()}
              className="pop-in z-40 w-44 rounded-xl border border-line bg-raised p-1.5 shadow-pop"
            >
              <MenuItem
                icon={Pencil}
                label="Rename"
                hint="F2"
                onSelect={() => onRename(file.id, file.path)}
              />
              <MenuItem
                icon={Trash2}
                label="Delete"
                hint="Del"
                danger
                onSelect={() => onDelete(file.id, file.path)}
              />
            </DropdownMenu.Content>
          </DropdownMenu.Portal>
        </DropdownMenu.Root>
      ) : null}
    </div>
  );
}

function MenuItem({
  icon: Icon,
  label,
  hint,
  danger,
  onSelect,
}: {
  icon: typeof Pencil;
  label: string;
  hint: string;
  danger?: boolean;
  onSelect: () => void;
}) {
  return (
    <DropdownMenu.Item
      onSelect={onSelect}
      className={cx(
        "flex items-center gap-2 rounded-lg px-2 py-1.5 text-[13px] outline-none data-[highlighted]:bg-hover",
        danger && "text-danger",
      )}
    >
      <Icon size={14} aria-hidden="true" />
      <span className="flex-1">{label}</span>
      <span className="text-xs text-faint max-md:hidden">{hint}</span>
    </DropdownMenu.Item>
  );
}

/** Dots for the others who have a file open. */
function PeopleThere({ document }: { document: string }) {
  const peers = useSessionState((state) => state.peers);
  const there = peers.filter((peer) => !peer.you && peer.document === document);
  if (there.length === 0) return null;
  return (
    <span
      role="img"
      aria-label={`Here: ${there.map((peer) => peer.name).join(", ")}`}
      title={there.map((peer) => peer.name).join(", ")}
      className="flex shrink-0 gap-0.5"
    >
      {there.slice(0, 3).map((peer) => (
        <span key={peer.id} className="size-2 rounded-full" style={{ background: peer.color }} />
      ))}
    </span>
  );
}

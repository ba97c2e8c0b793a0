import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, it } from "vitest";
import * as Y from "yjs";
import type { Attribution } from "../../core/protocol.ts";
import { UnitIndex } from "../../core/units.ts";
import { remoteEdit } from "../collab/binding.ts";
import { type Author, Authors, authoredRanges, type Names } from "./authors.ts";
import {
  attribution,
  authorsBetween,
  authorsField,
  sentence,
  setAuthors,
  whoWroteThisLine,
} from "./extension.ts";

const open: { destroy: () => void }[] = [];

afterEach(() => {
  for (const each of open.splice(0)) each.destroy();
});

const ADA: Author = { key: "member ada", kind: "person", name: "Ada", color: "#00a", turn: null };

const TOLD: Attribution = {
  spans: [
    { client: 1, clock: 0, length: 4, by: "person", member: "ada", turn: null },
    { client: 9, clock: 0, length: 4, by: "turn", member: null, turn: "t1" },
  ],
  turns: new Map([
    ["t1", { agent: "spark", prompt: "add two", by: "ada", created_at: "2026-01-01T00:00:00Z" }],
  ]),
  members: new Map([["ada", { name: "Ada", color: "#00a" }]]),
};

const NAMES: Names = {
  agent: (id) => (id === "spark" ? { name: "Spark", color: "#a0a" } : null),
  client: (client) => (client === 1 ? ADA : null),
};

function setUp() {
  const doc = new Y.Doc();
  doc.clientID = 1;
  doc.getText("content").insert(0, "one\n");
  const agent = new Y.Doc();
  agent.clientID = 9;
  Y.applyUpdate(agent, Y.encodeStateAsUpdate(doc));
  agent.getText("content").insert(4, "two\n");
  Y.applyUpdate(doc, Y.encodeStateAsUpdate(agent));
  const text = doc.getText("content");
  const said: string[] = [];
  const view = new EditorView({
    parent: document.body,
    state: EditorState.create({
      doc: text.toString(),
      extensions: [
        attribution({ you: ADA, ago: () => "just now", onSaid: (words) => said.push(words) }),
      ],
    }),
  });
  open.push(view, doc, agent);
  const look = () => authoredRanges(UnitIndex.of(text), new Authors(TOLD, NAMES), NAMES);
  return { doc, text, view, said, look };
}

describe("who wrote what", () => {
  it("[L15] follows the ids of units, whatever was typed between them", () => {
    const { text, look } = setUp();
    text.insert(6, "HUMAN");
    const { ranges, unknown } = look();
    expect(unknown).toBe(false);
    expect(ranges.map(({ from, to, author }) => [from, to, author.name])).toEqual([
      [0, 4, "Ada"],
      [4, 6, "Spark"],
      [6, 11, "Ada"],
      [11, 13, "Spark"],
    ]);
    expect(ranges[1]?.author.turn).toMatchObject({ prompt: "add two", asker: "Ada" });
  });

  it("asks again when somebody wrote whom nobody has told of", () => {
    const { doc, look } = setUp();
    const stranger = new Y.Doc();
    stranger.clientID = 7;
    Y.applyUpdate(stranger, Y.encodeStateAsUpdate(doc));
    stranger.getText("content").insert(0, "?");
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(stranger));
    expect(look().unknown).toBe(true);
  });

  it("is the writer's own at once, and nobody's until told when it comes from elsewhere", () => {
    const { view, look } = setUp();
    setAuthors(view, look().ranges);
    const names = (from: number, to: number) =>
      authorsBetween(view.state, from, to).map(({ name }) => name);
    view.dispatch({ changes: { from: 6, insert: "mine" } });
    expect(names(6, 10)).toEqual(["Ada"]);
    expect(names(4, 11)).toEqual(["Ada", "Spark"]);
    view.dispatch({
      changes: { from: 0, insert: "theirs" },
      annotations: remoteEdit.of(true),
    });
    expect(names(0, 6)).toEqual([]);
    expect(names(6, 9)).toEqual(["Ada"]);
  });

  it("is told on the card of the line that is asked about, one after the other", () => {
    const { view, look } = setUp();
    setAuthors(view, look().ranges);
    const card = () => document.querySelector(".cm-authorCard")?.textContent ?? "";
    view.dispatch({ selection: { anchor: 0 } });
    whoWroteThisLine(view);
    expect(card()).toBe("Ada");
    view.dispatch({ selection: { anchor: 5 } });
    whoWroteThisLine(view);
    expect(card()).toContain("Spark");
    expect(document.querySelectorAll(".cm-authorCard").length).toBe(1);
  });

  it("is shown beside the lines, told for the line of the cursor, and hidden when not wanted", () => {
    const { view, said, look } = setUp();
    expect(whoWroteThisLine(view)).toBe(false);
    setAuthors(view, look().ranges);
    expect(view.dom.querySelectorAll(".cm-authorBar").length).toBe(2);
    expect(view.dom.querySelectorAll(".cm-author-agent").length).toBe(1);
    view.dispatch({ selection: { anchor: 5 } });
    expect(whoWroteThisLine(view)).toBe(true);
    expect(said).toEqual(["Line 2 was written by Spark, asked by Ada just now: “add two”."]);
    setAuthors(view, null);
    expect(view.dom.querySelectorAll(".cm-authorBar").length).toBe(0);
    expect(view.state.field(authorsField).shown).toBe(false);
    expect(sentence(3, [], () => "")).toContain("not known");
  });
});

import { EditorState } from "@codemirror/state";
import { expect, it } from "vitest";
import { markedInsert } from "../collab/binding.ts";
import { agentText } from "./extension.ts";

const marks = (state: EditorState): [number, number][] => {
  const ranges: [number, number][] = [];
  state.field(agentText).between(0, state.doc.length, (from, to) => {
    ranges.push([from, to]);
  });
  return ranges;
};

it("marks what the agent wrote and not what is typed inside it", () => {
  let state = EditorState.create({ doc: "ab", extensions: [agentText] });
  state = state.update({
    changes: { from: 1, insert: "agent" },
    effects: markedInsert.of([{ from: 1, to: 6 }]),
  }).state;
  expect(marks(state)).toEqual([[1, 6]]);
  state = state.update({ changes: { from: 3, insert: "HUMAN" } }).state;
  expect(state.doc.toString()).toBe("aagHUMANentb");
  expect(marks(state)).toEqual([
    [1, 3],
    [8, 11],
  ]);
  state = state.update({ changes: { from: 0, to: 9 } }).state;
  expect(marks(state)).toEqual([[0, 2]]);
});

it("does not grow at the ends of the agent's text", () => {
  let state = EditorState.create({ doc: "", extensions: [agentText] });
  state = state.update({
    changes: { from: 0, insert: "x" },
    effects: markedInsert.of([{ from: 0, to: 1 }]),
  }).state;
  state = state.update({
    changes: [
      { from: 0, insert: "<" },
      { from: 1, insert: ">" },
    ],
  }).state;
  expect(marks(state)).toEqual([[1, 2]]);
});

import { describe, expect, it } from "vitest";
import * as Y from "yjs";
import { UnitIndex } from "./units.ts";

describe("units by their ids", () => {
  it("are found where they are, and where they were", () => {
    const doc = new Y.Doc();
    doc.clientID = 1;
    const text = doc.getText("content");
    text.insert(0, "hello world");
    text.delete(2, 3);
    const index = UnitIndex.of(text);
    expect(index.length).toBe(8);
    expect(index.visible({ client: 1, clock: 0, length: 11 })).toEqual([{ from: 0, to: 8 }]);
    expect(index.visible({ client: 1, clock: 3, length: 3 })).toEqual([{ from: 2, to: 3 }]);
    expect([...index.parts({ client: 1, clock: 1, length: 20 })]).toMatchObject([
      { run: { at: 0, deleted: false, order: 0 }, clock: 1, length: 1 },
      { run: { at: 2, deleted: true, order: 1 }, clock: 2, length: 3 },
      { run: { at: 2, deleted: false, order: 2 }, clock: 5, length: 6 },
    ]);
    expect(index.find(1, 11)).toBeNull();
    expect(index.find(2, 0)).toBeNull();
  });

  it("stay found when others type between them", () => {
    const one = new Y.Doc();
    one.clientID = 1;
    one.getText("content").insert(0, "abcdef");
    const two = new Y.Doc();
    two.clientID = 2;
    Y.applyUpdate(two, Y.encodeStateAsUpdate(one));
    two.getText("content").insert(3, "XYZ");
    const index = UnitIndex.of(two.getText("content"));
    expect(index.visible({ client: 1, clock: 0, length: 6 })).toEqual([
      { from: 0, to: 3 },
      { from: 6, to: 9 },
    ]);
    expect(index.visible({ client: 2, clock: 0, length: 3 })).toEqual([{ from: 3, to: 6 }]);
  });
});

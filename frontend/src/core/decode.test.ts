import { describe, expect, it } from "vitest";
import {
  color,
  DecodeError,
  decodeAttribution,
  decodeDocument,
  decodeHunk,
  decodePresence,
  decodeProjectDetail,
  decodeTurnChanges,
  displayName,
} from "./decode.ts";

const member = { id: "m1", name: "Ada", color: "#c2410c", role: "owner" };

describe("decoding what comes from outside", () => {
  it("takes a project and ignores keys it does not know", () => {
    const detail = decodeProjectDetail({
      id: "p",
      name: "Basket",
      role: "owner",
      created_at: "2026-11-22T09:00:00Z",
      members: [member],
      agents: [{ id: "agent", name: "Spark", color: "#0b766f", model: "m", demo: true, later: 1 }],
      you: member,
      later: {},
    });
    expect(detail.you.name).toBe("Ada");
    expect(detail.agents[0]?.demo).toBe(true);
  });

  it("names the place where an answer is wrong", () => {
    const wrong = () =>
      decodeProjectDetail({
        id: "p",
        name: "n",
        role: "king",
        members: [],
        agents: [],
        you: member,
      });
    expect(wrong).toThrow(DecodeError);
    expect(wrong).toThrow("project.role should be owner or editor or viewer");
  });

  it("leaves out tree entries and hunks of forms it does not know", () => {
    expect(decodeDocument("d", { path: "a.py", kind: "text", epoch: 1 })?.epoch).toBe("1");
    expect(decodeDocument("d", { path: "a.png", kind: "blob" })).toBeNull();
    expect(decodeDocument("d", "text")).toBeNull();
    expect(decodeHunk("h", { state: "sideways" })).toBeNull();
    expect(decodeHunk("h", { state: "missed", reason: "in two places" })).toMatchObject({
      inserted: 0,
      line: null,
      reason: "in two places",
    });
  });

  it("hands CSS only colors", () => {
    expect(color("#fff")).toBe("#fff");
    expect(color("oklch(0.6 0.1 200)")).toBe("oklch(0.6 0.1 200)");
    expect(color("red; background: url(//evil)")).toBe("#6b7280");
    expect(color("url(x)")).toBe("#6b7280");
    expect(color(7)).toBe("#6b7280");
  });

  it("shows names without characters that play tricks", () => {
    expect(displayName("  Ada\u202e\u0000 ", "Guest")).toBe("Ada");
    expect(displayName("\u200e", "Guest")).toBe("Guest");
    expect(displayName("x".repeat(100), "Guest")).toHaveLength(60);
  });

  it("reads presence of any making", () => {
    expect(decodePresence({})).toBeNull();
    expect(decodePresence({ user: { name: "nobody" } })).toBeNull();
    expect(decodePresence({ user: { id: "a", kind: "agent" }, status: "writing" })).toEqual({
      user: { id: "a", name: "Agent", color: "#6b7280", colorLight: "#6b728033", kind: "agent" },
      document: null,
      cursor: null,
      turn: null,
      status: "writing",
    });
  });
});

describe("what turns did, and who wrote what", () => {
  const units = { client: 2 ** 40, clock: 3, length: 2 };

  it("are read with ids as Yjs has them", () => {
    const { documents } = decodeTurnChanges({
      turn: "t",
      documents: [
        {
          document: "d",
          path: "a.py",
          hunks: [
            { id: "h", state: "applied", inserted: [units], deleted: [{ ...units, text: "ab" }] },
          ],
        },
      ],
    });
    expect(documents[0]?.hunks[0]).toEqual({
      id: "h",
      state: "applied",
      inserted: [units],
      deleted: [{ ...units, text: "ab" }],
    });
    const { spans, members } = decodeAttribution({
      version: "1.1",
      spans: [{ start: 0, ...units, by: "turn", turn: "t", hunk: "h" }],
      turns: { t: { agent: "a", prompt: "p", by: "m", created_at: "" } },
      members: { m: { name: "Ada\u202e", color: "url(x)" } },
    });
    expect(spans).toEqual([{ ...units, by: "turn", member: null, turn: "t" }]);
    expect(members.get("m")).toEqual({ name: "Ada", color: "#6b7280" });
  });

  it.each([{ client: -1 }, { clock: 0.5 }, { length: "2" }, { client: 2 ** 60 }])(
    "are refused with ids that cannot be: %j",
    (wrong) => {
      const inserted = [{ ...units, ...wrong }];
      const hunks = [{ id: "h", state: "applied", inserted, deleted: [] }];
      expect(() =>
        decodeTurnChanges({ turn: "t", documents: [{ document: "d", path: "a", hunks }] }),
      ).toThrow(DecodeError);
    },
  );
});

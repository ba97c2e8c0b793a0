import { describe, expect, it, vi } from "vitest";
import { explain, RequestError, socketVerdict } from "./errors.ts";
import { Rpc } from "./rpc.ts";

function pair() {
  const sent: { id: number; method: string; params: unknown }[] = [];
  const rpc = new Rpc((payload) => sent.push(JSON.parse(payload)));
  return { rpc, sent };
}

describe("calls over the socket", () => {
  it("match answers to questions, in any order", async () => {
    const { rpc, sent } = pair();
    const first = rpc.call("turn.start", { prompt: "a" });
    const second = rpc.call("turn.interrupt", { turn: "t" });
    expect(sent.map(({ method }) => method)).toEqual(["turn.start", "turn.interrupt"]);
    rpc.receive(JSON.stringify({ jsonrpc: "2.0", id: sent[1]?.id, result: 2 }));
    rpc.receive(JSON.stringify({ jsonrpc: "2.0", id: sent[0]?.id, result: 1 }));
    expect(await Promise.all([first, second])).toEqual([1, 2]);
  });

  it("reject with the server's stable code", async () => {
    const { rpc, sent } = pair();
    const call = rpc.call("document.create", { path: "a" });
    rpc.receive(
      JSON.stringify({
        jsonrpc: "2.0",
        id: sent[0]?.id,
        error: {
          code: -32000,
          message: "taken",
          data: { code: "path_taken", status: 409, detail: "d" },
        },
      }),
    );
    const error = await call.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RequestError);
    expect(error).toMatchObject({ code: "path_taken", status: 409, detail: "d" });
    expect(explain(error).title).toBe("There is already a file with this name");
  });

  it("end as offline when the socket goes or nothing comes", async () => {
    vi.useFakeTimers();
    const { rpc } = pair();
    const lost = rpc.call("a", {});
    rpc.disconnect();
    await expect(lost).rejects.toMatchObject({ code: "offline" });
    const silent = rpc.call("b", {});
    const rejected = expect(silent).rejects.toMatchObject({ code: "offline" });
    await vi.advanceTimersByTimeAsync(30_000);
    await rejected;
    vi.useRealTimers();
  });

  it("ignore what is not an answer", () => {
    const { rpc } = pair();
    for (const noise of ["", "{", "null", "[]", '{"id":99,"result":1}', '{"method":"x"}']) {
      expect(() => rpc.receive(noise)).not.toThrow();
    }
  });
});

describe("close codes", () => {
  it.each([
    [4401, "sign_in"],
    [4403, "no_access"],
    [4404, "gone"],
    [4400, "defect"],
    [1006, "retry"],
    [1013, "later"],
    [4529, "later"],
    [4508, "retry"],
  ])("%i means %s", (code, verdict) => {
    expect(socketVerdict(code)).toBe(verdict);
  });
});

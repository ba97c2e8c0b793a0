import { expect, it } from "vitest";
import { documentInHash, parseRoute } from "./routes.ts";

it.each([
  ["/", "", { page: "start" }],
  ["/join", "#s3cr-et_", { page: "join", secret: "s3cr-et_" }],
  ["/join", "", { page: "join", secret: "" }],
  ["/p/AZq0d_-x", "", { page: "project", project: "AZq0d_-x" }],
  ["/p/AZq0d_-x/", "#d", { page: "project", project: "AZq0d_-x" }],
  ["/p/a%2Fb", "", { page: "unknown" }],
  ["/elsewhere", "", { page: "unknown" }],
])("%s%s is read", (path, hash, route) => {
  expect(parseRoute(path, hash)).toEqual(route);
});

it("a document in the address is an id or nothing", () => {
  expect(documentInHash("#abc_-9")).toBe("abc_-9");
  expect(documentInHash("#a b")).toBeNull();
  expect(documentInHash("")).toBeNull();
});

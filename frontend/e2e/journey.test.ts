/** Two people and an agent in one file, in a real browser against the real server. */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestServer, until } from "../test/server.ts";
import { launchBrowser, NARROW, Person, WIDE } from "./browser.ts";

/** Slow enough to watch an agent write, fast enough to wait for it. */
const TOKENS_PER_SECOND = "120";

/** A Python file of more than a hundred lines, in which `total` is a name everywhere. */
const PROGRAM = Array.from(
  { length: 14 },
  (_, index) =>
    `def price_${index}(items, rate=0.2):\n` +
    "    total = 0\n" +
    "    for item in items:\n" +
    "        total += item.price * (1 + rate)\n" +
    `    if total > ${100 + index}:\n` +
    "        total *= 0.9\n" +
    "    return total\n",
).join("\n\n");

let server: TestServer;
let browser: Browser;
let ada: Person;
let linus: Person;

beforeAll(async () => {
  server = await TestServer.start({ ENSEMBLE_DEMO_TOKENS_PER_SECOND: TOKENS_PER_SECOND });
  browser = await launchBrowser();
  ada = await Person.arrive(browser, "Ada");
  linus = await Person.arrive(browser, "Linus");
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

const bothHave = (what: string, holds: (text: string) => boolean) =>
  until(what, async () => {
    const [one, two] = [await ada.text(), await linus.text()];
    return one === two && holds(one);
  });

const ended = (card: { getAttribute(name: string): Promise<string | null> }) =>
  until(
    "the turn has ended",
    async () => /done|interrupted|failed/.test((await card.getAttribute("data-status")) ?? ""),
    60_000,
  );

describe("two people and an agent in one file", () => {
  it("begins with a project, a pasted file and a link", async () => {
    await ada.page.goto(server.url);
    await ada.page.getByRole("textbox", { name: "Project" }).waitFor();
    await ada.picture("start");
    await ada.startProject(server.url, "Basket");
    await ada.newFile("src/basket.py");
    // Line ends of another system are pasted as they come.
    await ada.paste(PROGRAM.replaceAll("\n", "\r\n"));
    await ada.isSaved();
    expect(await ada.text()).toBe(PROGRAM);

    const link = await ada.inviteLink("Can edit");
    await linus.page.goto(link);
    await linus.page.getByLabel("Your name").waitFor();
    await linus.picture("join");
    await linus.follow(link);
    await linus.openFile("src/basket.py");
    await until("Linus has the text", async () => (await linus.text()) === PROGRAM);
  });

  it("shows both to each other while both type", async () => {
    await ada.clickBehind("def price_0(items, rate=0.2):");
    await linus.clickBehind("def price_3(items, rate=0.2):");
    await Promise.all([ada.type("  # by Ada"), linus.type("  # by Linus")]);
    await bothHave(
      "both have both",
      (text) =>
        text.includes("price_0(items, rate=0.2):  # by Ada\n") &&
        text.includes("price_3(items, rate=0.2):  # by Linus\n"),
    );
    await ada.page.locator(".cm-peerCaret-person", { hasText: "Linus" }).waitFor();
    await linus.page.locator(".cm-peerCaret-person", { hasText: "Ada" }).waitFor();
    await ada.page.getByRole("button", { name: /Here now: .*Ada.*Linus/ }).waitFor();
    await Promise.all([ada.isSaved(), linus.isSaved()]);
  });

  it("lets the agent rename with a cursor of its own, while a person types on", async () => {
    await linus.clickBehind("# by Linus");
    const card = await ada.ask("rename total to subtotal");
    await Promise.all([
      ada.page.locator(".cm-peerCaret-agent").waitFor(),
      linus.page.locator(".cm-peerCaret-agent").waitFor(),
    ]);
    await linus.type(" and an agent");
    await ada.picture("turn");
    await ended(card);
    expect(await card.getAttribute("data-status")).toBe("done");
    await bothHave(
      "both see the new name",
      (text) => text.includes("subtotal = 0") && !/\btotal\b/.test(text),
    );
    expect(await linus.text()).toContain("# by Linus and an agent\n");
    await ada.page.locator(".cm-peerCaret-agent").waitFor({ state: "detached" });
    await ada.picture("done");
  });

  it("[S11] takes back with Ctrl-Z only what oneself typed", async () => {
    await ada.clickBehind("# by Ada");
    await ada.type(", undone");
    await linus.type(", kept");
    await bothHave(
      "both have both",
      (text) => text.includes(", undone") && text.includes(", kept"),
    );
    for (let press = 0; press < 12 && (await ada.text()).includes("by Ada"); press++) {
      await ada.page.keyboard.press("Control+z");
    }
    await bothHave("Ada's words are gone", (text) => !text.includes("by Ada"));
    const text = await ada.text();
    expect(text).toContain("# by Linus and an agent, kept");
    expect(text).not.toMatch(/\btotal\b/);
  });

  it("[L1] takes back a turn and keeps what was typed inside it", async () => {
    const before = await ada.text();
    const card = await ada.ask("add docstrings");
    await ended(card);
    expect(await card.getAttribute("data-status")).toBe("done");
    await bothHave("both have docstrings", (text) => text.includes('"""'));
    const docstring = /"""\w+/.exec(await linus.text())?.[0] ?? "";
    await linus.clickBehind(docstring);
    await linus.type("HUMAN");
    await bothHave("both have it", (text) => text.includes(`${docstring}HUMAN`));
    await card.getByRole("button", { name: "Reject whole turn" }).click();
    await bothHave("the turn is gone", (text) => !text.includes('"""'));
    expect((await ada.text()).replace("HUMAN", "")).toBe(before);
    expect(await ada.text()).toContain("HUMAN");
    await until(
      "the card says so",
      async () => (await card.getAttribute("data-review")) === "rejected",
    );
  });

  it("[T7] stops when told to", async () => {
    const card = await linus.ask("add docstrings");
    await until("the agent writes", async () => (await linus.text()).includes('"""'), 60_000);
    await card.getByRole("button", { name: "Stop" }).click();
    await ended(card);
    expect(await card.getAttribute("data-status")).toBe("interrupted");
    const stopped = await linus.text();
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await linus.text()).toBe(stopped);
    expect(stopped.split('"""').length).toBeLessThan(2 * 14 + 1);
    await card.getByRole("button", { name: "Reject whole turn" }).click();
    await bothHave("what was written is gone", (text) => !text.includes('"""'));
  });

  it("asks at the selection with Ctrl-K, and leaves with Escape", async () => {
    const { page } = ada;
    await ada.clickBehind("def price_1(items, rate=0.2):");
    await page.keyboard.press("Shift+Home");
    await page.keyboard.press("Control+k");
    const dialog = page.getByRole("dialog", { name: "Ask the agent" });
    await dialog.waitFor();
    await until("the prompt has the focus", () =>
      page.evaluate(() => document.activeElement?.tagName === "TEXTAREA"),
    );
    await ada.picture("prompt");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    expect(await page.evaluate(() => document.activeElement?.className)).toContain("cm-content");
    await page.keyboard.press("Control+k");
    await dialog.waitFor();
    await page.keyboard.type("explain this");
    await page.keyboard.press("Enter");
    await dialog.waitFor({ state: "detached" });
    const card = page.locator("article[data-turn]").last();
    await until("it is this turn", async () =>
      ((await card.textContent()) ?? "").includes("explain this"),
    );
    await ended(card);
    expect(await card.getAttribute("data-status")).toBe("done");
  });

  it("accepts a turn, which can still be rejected later", async () => {
    const card = ada.page.locator("article[data-turn]").first();
    await card.getByRole("button", { name: "Accept whole turn" }).click();
    await until(
      "it is accepted",
      async () => (await card.getAttribute("data-review")) === "accepted",
    );
    await card.getByRole("button", { name: "Reject whole turn" }).waitFor();
    expect(await card.getByRole("button", { name: "Accept whole turn" }).count()).toBe(0);
  });

  it("leads from a hunk to its place", async () => {
    const card = ada.page.locator("article[data-turn]").first();
    await card
      .getByRole("button", { name: /^Show basket\.py:/ })
      .first()
      .click();
    await ada.page.locator(".cm-hunkFlash").first().waitFor();
  });

  it("lets a viewer read along and nothing else", async () => {
    const vera = await Person.arrive(browser, "Vera");
    await vera.follow(await ada.inviteLink("Can read"));
    await vera.openFile("src/basket.py");
    await until("Vera has the text", async () => (await vera.text()) === (await ada.text()));
    await vera.page.getByText("You are reading along. To write").waitFor();
    expect(await vera.page.getByLabel("Prompt for the agent").count()).toBe(0);
    expect(await vera.page.getByRole("button", { name: "Share" }).count()).toBe(0);
    expect(await vera.page.getByRole("button", { name: "New file" }).count()).toBe(0);
    const before = await vera.text();
    await vera.page.locator(".cm-content").click();
    await vera.type("not allowed");
    await vera.page.keyboard.press("Backspace");
    expect(await vera.text()).toBe(before);
    await ada.clickBehind("def price_5(items, rate=0.2):");
    await ada.type("  # seen by Vera");
    await until("Vera follows", async () => (await vera.text()).includes("# seen by Vera"));
    await vera.picture("viewer");

    // The newest link is first. Who came by it goes with it; Linus, who came by another, stays.
    const { page } = ada;
    await page.getByRole("button", { name: "Share" }).click();
    await page.getByRole("button", { name: "Revoke this link" }).first().click();
    const asked = page.getByRole("alertdialog", { name: "Revoke this link?" });
    await asked.getByLabel("Also take out the person who came by it").check();
    await ada.picture("revoke");
    await asked.getByRole("button", { name: "Revoke and take out" }).click();
    await asked.waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
    await vera.page.getByRole("button", { name: "Go to the start page" }).waitFor();
    expect(vera.complaints).toEqual([]);
    await ada.clickBehind("def price_6(items, rate=0.2):");
    await ada.type("  # without Vera");
    await bothHave("Linus goes on", (text) => text.includes("# without Vera"));
    await vera.context.close();
  });

  it("works with files from the keyboard", async () => {
    const { page } = ada;
    await ada.newFile("notes/todo.md");
    await page.locator('[data-row="file:notes/todo.md"]').focus();
    await page.keyboard.press("F2");
    await page.getByLabel("New path of notes/todo.md").fill("notes/done.md");
    await page.keyboard.press("Enter");
    await linus.page.locator('[data-row="file:notes/done.md"]').waitFor();
    await page.locator('[data-row="file:notes/done.md"]').focus();
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft");
    await page.locator('[data-row="file:notes/done.md"]').waitFor({ state: "detached" });
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Delete");
    await page.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
    await linus.page.locator('[data-row="folder:notes"]').waitFor({ state: "detached" });
    await ada.openFile("src/basket.py");
    await page.getByRole("button", { name: "New file" }).first().click();
    await page.getByLabel("Path of the new file").fill("src/basket.py");
    await page.keyboard.press("Enter");
    await page.getByText("There is already a file with this name").waitFor();
    await page.keyboard.press("Escape");
  });

  it("says when it is offline, and saves what was typed meanwhile", async () => {
    await ada.openFile("src/basket.py");
    await Promise.all([ada.isSaved(), linus.isSaved()]);
    await server.kill();
    await ada.page.locator('[data-save-state="offline"]').waitFor();
    await ada.clickBehind("def price_7(items, rate=0.2):");
    await ada.type("  # offline");
    await ada.page.getByText("The server cannot be reached.").waitFor();
    await ada.picture("offline");
    await server.restart();
    await ada.isSaved();
    await bothHave("Linus has it", (text) => text.includes("rate=0.2):  # offline\n"));
    await ada.page.reload();
    await until("it is there after a reload", async () =>
      (await ada.text()).includes("rate=0.2):  # offline\n"),
    );
  });

  it("fits a phone", async () => {
    await linus.page.setViewportSize(NARROW);
    await linus.page.getByRole("button", { name: "Editor", exact: true }).click();
    await linus.seesEditor();
    await linus.picture("editor");
    await linus.clickBehind("def price_9(items, rate=0.2):");
    await linus.type("  # from a phone");
    await bothHave("both have it", (text) => text.includes("# from a phone"));
    await linus.page.getByRole("button", { name: "Agent", exact: true }).click();
    await linus.page.getByLabel("Prompt for the agent").waitFor();
    await linus.picture("agent");
    await linus.page.getByRole("button", { name: "Files", exact: true }).click();
    await linus.picture("files");
    const overflow = await linus.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow).toBe(0);
    await linus.page.setViewportSize(WIDE);
  });

  it("has complained about nothing, its own policy included", () => {
    expect([...ada.complaints, ...linus.complaints]).toEqual([]);
  });
});

describe("links that lead nowhere", () => {
  it("say what to do", async () => {
    const { page } = linus;
    await page.goto(`${server.url}/join#not-a-secret`);
    await page.getByRole("button", { name: "Join" }).click();
    await page.getByText("This link no longer works").waitFor();
    await page.goto(`${server.url}/p/AAAAAAAAAAAAAAAAAAAAAA`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.getByRole("button", { name: "Go to the start page" }).click();
    await page.getByRole("link", { name: /Basket/ }).waitFor();
    await page.setViewportSize(NARROW);
    await linus.picture("start");
    const stranger = await Person.arrive(browser, "Mallory");
    await stranger.page.goto(ada.page.url());
    await stranger.page.getByRole("heading", { name: "You are not signed in here" }).waitFor();
    await stranger.context.close();
  });
});

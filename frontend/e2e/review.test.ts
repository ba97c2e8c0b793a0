/** Reviewing what an agent did, from the keyboard, in a real browser against the real server. */

import type { Browser, Locator } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestServer, until } from "../test/server.ts";
import { launchBrowser, NARROW, Person, WIDE } from "./browser.ts";

const PROGRAM = ["price", "weight", "volume"]
  .map(
    (name) =>
      `def ${name}_of(items):\n` +
      "    total = 0\n" +
      "    for item in items:\n" +
      `        total += item.${name}\n` +
      "    return total\n",
  )
  .join("\n\n");

let server: TestServer;
let browser: Browser;
let ada: Person;
let linus: Person;

beforeAll(async () => {
  server = await TestServer.start({ ENSEMBLE_DEMO_TOKENS_PER_SECOND: "400" });
  browser = await launchBrowser();
  ada = await Person.arrive(browser, "Ada");
  linus = await Person.arrive(browser, "Linus");
  await ada.startProject(server.url, "Shop");
  await ada.newFile("shop.py");
  await ada.paste(PROGRAM);
  await ada.isSaved();
  await linus.follow(await ada.inviteLink("Can edit"));
  await linus.openFile("shop.py");
  await until("Linus has the text", async () => (await linus.text()) === PROGRAM);
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

const done = (card: Locator) =>
  until(
    "the turn is done",
    async () => (await card.getAttribute("data-status")) === "done",
    60_000,
  );

const bar = (person: Person) => person.page.locator("[data-review-bar]");
const barSays = (person: Person, words: string | RegExp) =>
  bar(person).getByText(words).first().waitFor();
const offer = (person: Person) => person.page.locator("[data-undo-offer]");
const docstrings = (text: string) => text.split('"""').length - 1;

describe("a turn with three hunks", () => {
  let turn: Locator;

  it("[L13] is walked with the keyboard, from wherever the focus is", async () => {
    turn = await ada.ask("add docstrings");
    await done(turn);
    await bothHave("both have docstrings", (text) => docstrings(text) > 3);
    await barSays(ada, "3 changes");
    await barSays(linus, "3 changes");
    await ada.page.keyboard.press("F7");
    await barSays(ada, "Change 1");
    await until("what one is at is said", async () =>
      /^Change 1 of 3, line 2, inserted: """/.test(
        (await ada.page.locator("[data-said]").textContent()) ?? "",
      ),
    );
    await ada.page.keyboard.press("F7");
    await barSays(ada, "Change 2");
    await ada.page.keyboard.press("Shift+F7");
    await barSays(ada, "Change 1");
    await ada.page.keyboard.press("F7");
    await ada.page.locator(".cm-agentText").first().waitFor({ state: "detached" });
    expect(await ada.contrast(".cm-inserted, .cm-inserted span")).toBeGreaterThan(4.5);
    expect(await ada.contrast(".text-faint, .text-muted, .cm-gutterElement")).toBeGreaterThan(4.5);
    await ada.picture("review");
    await ada.page.setViewportSize(NARROW);
    await ada.picture("review");
    for (const button of await bar(ada).getByRole("button").all()) {
      expect((await button.boundingBox())?.height).toBeGreaterThanOrEqual(40);
    }
    await ada.page.setViewportSize(WIDE);
  });

  it("[L13] loses its middle hunk and keeps what was typed inside, the first after a restart", async () => {
    const at = (await ada.text()).indexOf("def weight_of");
    const docstring = /"""\w+/.exec((await ada.text()).slice(at))?.[0] ?? "";
    expect(docstring).not.toBe("");
    await ada.clickBehind(docstring, at);
    await ada.type("HUMAN");
    await barSays(ada, "Change 2");
    await ada.page.keyboard.press("Shift+Alt+Enter");
    await barSays(ada, "of 2");
    await bothHave(
      "the middle docstring is gone",
      (text) => docstrings(text) === docstrings(PROGRAM) + 4,
    );
    expect(await ada.text()).toContain("HUMAN");
    // The next one is at hand.
    await barSays(ada, "Change 2");

    await Promise.all([ada.isSaved(), linus.isSaved()]);
    await server.stop();
    await server.restart();
    await Promise.all([ada.isSaved(), linus.isSaved()]);
    await ada.page.keyboard.press("Shift+F7");
    await barSays(ada, "Change 1");
    await ada.page.keyboard.press("Shift+Alt+Enter");
    await bothHave(
      "the first docstring is gone",
      (text) => docstrings(text) === docstrings(PROGRAM) + 2,
    );
    await barSays(ada, "of 1");
    await ada.page.keyboard.press("Alt+Enter");
    await bar(ada).waitFor({ state: "detached" });
    await bar(linus).waitFor({ state: "detached" });
    await until(
      "the card says so",
      async () => (await turn.getAttribute("data-review")) === "mixed",
    );
    const text = await ada.text();
    expect(text).toContain("HUMAN");
    expect(docstrings(text)).toBe(docstrings(PROGRAM) + 2);
  });

  it("[L15] says who wrote a line, and what they were asked", async () => {
    const { page } = ada;
    await page.locator(".cm-author-agent").first().waitFor();
    await ada.clickBehind('"""', (await ada.text()).indexOf("def volume_of"));
    await page.keyboard.press("Shift+Alt+W");
    const card = page.locator(".cm-authorCard");
    await card.getByText("“add docstrings”").waitFor();
    await card.getByText("for Ada").waitFor();
    await until("it is said", async () =>
      /was written by .*asked by Ada.*add docstrings/.test(
        (await page.locator("[data-said]").textContent()) ?? "",
      ),
    );
    await ada.picture("who");
    await page.keyboard.press("Escape");
    await card.waitFor({ state: "detached" });
    // The pointer asks the same beside the line.
    await page.locator(".cm-authors .cm-authorBar").first().hover();
    await card.getByText("Ada").waitFor();
    await page.getByRole("button", { name: "View" }).click();
    await ada.picture("view-menu");
    await page.getByRole("menuitemcheckbox", { name: "Who wrote what" }).click();
    await page.locator(".cm-authorBar").first().waitFor({ state: "detached" });
    await page.getByRole("button", { name: "View" }).click();
    await page.getByRole("menuitemcheckbox", { name: "Who wrote what" }).click();
    await page.locator(".cm-authorBar").first().waitFor();
  });
});

describe("undo right after one's own turn", () => {
  it("[S33] offers to reject the turn, and undoes typing once that is declined", async () => {
    const { page } = ada;
    await ada.clickBehind("def price_of(items):");
    await ada.type("  # typed before");
    await linus.clickBehind("def volume_of(items):");
    await linus.type("  # by Linus");
    await bothHave("both have both", (text) => /typed before/.test(text) && /by Linus/.test(text));
    const card = await ada.ask("rename total to subtotal");
    await done(card);
    await bothHave("both have the new name", (text) => text.includes("subtotal"));
    await page.locator(".cm-content").focus();
    await page.keyboard.press("Control+z");
    await offer(ada).getByText("Reject this turn?").waitFor();
    await ada.picture("offer");
    expect(await ada.text()).toContain("# typed before");
    // The focus is where one types; the offer has a key of its own.
    await page.keyboard.press("F6");
    await page.keyboard.press("Escape");
    await offer(ada).waitFor({ state: "detached" });
    await page.keyboard.press("Control+z");
    await bothHave("typing is undone", (text) => !text.includes("typed before"));
    const text = await ada.text();
    expect(text).toContain("# by Linus");
    expect(text).toContain("subtotal");
    await card.getByRole("button", { name: "Accept whole turn" }).click();
    await bar(ada).waitFor({ state: "detached" });
  });

  it("[S33] takes the turn back when the offer is taken, and nothing else", async () => {
    const before = await ada.text();
    const card = await ada.ask("rename subtotal to amount");
    await done(card);
    await bothHave("both have the new name", (text) => text.includes("amount"));
    await ada.page.locator(".cm-deleted").first().waitFor();
    await ada.page.locator(".cm-agentText").first().waitFor({ state: "detached" });
    expect(await ada.contrast(".cm-inserted, .cm-inserted span, .cm-deleted del")).toBeGreaterThan(
      4.5,
    );
    await ada.picture("rename");
    await ada.page.locator(".cm-content").focus();
    await ada.page.keyboard.press("Control+z");
    await offer(ada).waitFor();
    await ada.page.keyboard.press("F6");
    await ada.page.keyboard.press("Enter");
    await bothHave("the turn is taken back", (text) => text === before);
    await until(
      "the card says so",
      async () => (await card.getAttribute("data-review")) === "rejected",
    );
  });

  it("is about typing when one has typed since", async () => {
    const card = await ada.ask("rename subtotal to amount");
    await done(card);
    await bothHave("both have the new name", (text) => text.includes("amount"));
    await ada.clickBehind("def weight_of(items):");
    await ada.type("  # later");
    await ada.page.keyboard.press("Control+z");
    await bothHave("the typing is gone", (text) => !text.includes("# later"));
    expect(await offer(ada).count()).toBe(0);
    expect(await ada.text()).toContain("amount");
    // All that is open in a file goes with one key.
    await ada.page.keyboard.press("Control+Alt+Shift+Enter");
    await bothHave("the turn is rejected", (text) => !text.includes("amount"));
  });
});

describe("a turn over several files", () => {
  it("lists them with counts, and leads to the first hunk of each", async () => {
    const { page } = ada;
    await ada.newFile("lib/tax.py");
    await ada.paste("def tax(subtotal):\n    return subtotal * 0.2\n");
    await ada.isSaved();
    const card = await ada.ask("rename subtotal to net everywhere in all files");
    await done(card);
    const row = card.locator('[data-file="shop.py"]');
    await card.locator('[data-file="lib/tax.py"]').waitFor();
    await row.getByText(/^\+\d+$/).waitFor();
    await ada.picture("files-of-a-turn");
    await barSays(ada, "to review");
    await row.getByRole("button", { name: /^Open shop\.py/ }).click();
    await page.locator('[data-row="file:shop.py"][aria-selected="true"]').waitFor();
    await barSays(ada, "Change 1");
    await bar(ada)
      .getByRole("button", { name: /in README\.md$/ })
      .click();
    await page.locator('[data-row="file:README.md"][aria-selected="true"]').waitFor();
    await barSays(ada, "Change 1");
    await bar(ada).getByRole("button", { name: "Accept all" }).click();
    await bar(ada).waitFor({ state: "detached" });
    await row.getByRole("button", { name: /^List the changes/ }).click();
    await row
      .getByRole("button", { name: /^Show shop\.py:/ })
      .first()
      .waitFor();
    await card.getByRole("button", { name: "Reject whole turn" }).click();
    await until("all of it is taken back", async () => !(await ada.text()).includes("net"));
    await bothHaveNoNet();
  });

  it("goes with everything the agent did, when that is asked for and confirmed", async () => {
    const { page } = ada;
    await ada.openFile("shop.py");
    const menu = page.getByRole("button", { name: /^Everything .* did$/ });
    await menu.click();
    await page.getByRole("menuitem", { name: "Reject everything…" }).click();
    await page.getByRole("button", { name: "Reject everything" }).click();
    await bothHave(
      "only what people typed is left",
      (text) =>
        text.replace("HUMAN", "").replace("  # by Linus", "").replace(/\s+/g, " ") ===
        PROGRAM.replace(/\s+/g, " "),
    );
  });

  async function bothHaveNoNet() {
    await ada.openFile("shop.py");
    await bothHave("both files are", (text) => !/\bnet\b/.test(text) && text.includes("subtotal"));
  }

  it("has complained about nothing", () => {
    expect([...ada.complaints, ...linus.complaints]).toEqual([]);
  });
});

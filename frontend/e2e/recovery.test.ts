/** What a page does when the server does not take, store or let it write what was typed. */

import { readFile } from "node:fs/promises";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as Y from "yjs";
import { TestServer, until } from "../test/server.ts";
import { launchBrowser, NARROW, Person, WIDE } from "./browser.ts";
import { AUTH, CLOSE, SYNC_STATUS, string, Wire } from "./wire.ts";

const POEM = "roses are red\nviolets are blue\n";

let server: TestServer;
let browser: Browser;
let ada: Person;
let linus: Person;
let project: string;
let document: string;
let link: string;

beforeAll(async () => {
  server = await TestServer.start();
  browser = await launchBrowser();
  ada = await Person.arrive(browser, "Ada");
  linus = await Person.arrive(browser, "Linus");
  await ada.startProject(server.url, "Poems");
  await ada.newFile("poem.txt");
  await ada.paste(POEM);
  await ada.isSaved();
  project = new URL(ada.page.url()).pathname.split("/").at(-1) ?? "";
  document = await ada.openDocument();
  link = await ada.inviteLink("Can edit");
  await linus.follow(link);
  await linus.openFile("poem.txt");
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

/** Puts edits into a browser's storage, as a page that could not send them would have. */
async function keepEdits(person: Person, bytes: Uint8Array): Promise<void> {
  const epoch = "1";
  await person.page.evaluate(
    async ({ address, epoch, bytes }) => {
      const database = await new Promise<IDBDatabase>((resolve, reject) => {
        const request = indexedDB.open("ensemble", 1);
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
      await new Promise<void>((resolve, reject) => {
        const transaction = database.transaction("edits", "readwrite");
        transaction.objectStore("edits").put({
          key: "forged",
          address,
          epoch,
          at: 0,
          bytes: new Uint8Array(bytes),
        });
        transaction.oncomplete = () => resolve();
        transaction.onerror = () => reject(transaction.error);
      });
      database.close();
    },
    { address: `${project}/${document}`, epoch, bytes: [...bytes] },
  );
}

const aside = (person: Person) =>
  person.page.getByRole("alert").filter({ hasText: "Your unsent changes were kept aside" });

describe("edits the server has not stored", () => {
  it("[S32] are in this browser, and are sent by the next page", async () => {
    await server.kill();
    await ada.clickBehind("roses are red");
    await ada.type(", I said");
    await ada.page.getByText("is kept in this browser and sent when").waitFor();
    await ada.picture("kept");
    await ada.page.close({ runBeforeUnload: false });
    await server.restart();
    await ada.returnTo(`${server.url}/p/${project}`);
    await ada.openFile("poem.txt");
    await until("Ada has her words again", async () => (await ada.text()).includes(", I said"));
    await ada.isSaved();
    await until("Linus has them", async () => (await linus.text()).includes(", I said"));
    expect((await linus.text()).split("I said").length).toBe(2);
  });

  it("are counted, and said to be where they are, while the server stores nothing", async () => {
    const wire = await Wire.of(ada.page);
    await ada.page.reload();
    await ada.openFile("poem.txt");
    await ada.isSaved();
    wire.change = (frame) => (frame.type === SYNC_STATUS ? null : frame);
    await ada.clickBehind("violets");
    await ada.type(" too");
    await ada.page
      .getByRole("alert")
      .getByText(/Not saved since .*: \d+ changes/)
      .waitFor();
    await ada.page.getByText("It is kept in this browser too").waitFor();
    await ada.picture("not-saved");
    await ada.page.setViewportSize(NARROW);
    await ada.picture("not-saved");
    await ada.page.setViewportSize(WIDE);
    wire.change = (frame) => frame;
    await ada.page.reload();
    await ada.isSaved();
    expect(await ada.text()).toContain("violets too");
  });
});

describe("text the server does not take", () => {
  it("[S31] is set aside once, can be downloaded and copied, and is put back as a new edit", async () => {
    const before = await linus.text();
    const forged = new Y.Doc();
    // A low id comes before those of others at the same place.
    forged.clientID = 1;
    forged.getText("content").insert(0, "forgotten words\n");
    forged.getMap("more").set("than", "text");
    await keepEdits(ada, Y.encodeStateAsUpdate(forged));
    await ada.page.reload();
    await ada.openFile("poem.txt");
    await aside(ada).waitFor();
    expect(await ada.text()).toBe(before);
    await ada.picture("aside");
    await ada.page.setViewportSize(NARROW);
    await ada.picture("aside");
    await ada.page.setViewportSize(WIDE);

    const [download] = await Promise.all([
      ada.page.waitForEvent("download"),
      aside(ada).getByRole("button", { name: "Download" }).click(),
    ]);
    expect(download.suggestedFilename()).toBe("poem.txt.unsent.diff");
    const diff = await readFile(await download.path(), "utf8");
    expect(diff).toContain("+++ b/poem.txt\n");
    expect(diff).toContain("\n+forgotten words\n");
    await aside(ada).getByRole("button", { name: "Copy" }).click();
    await ada.page.getByText("is on the clipboard").waitFor();
    expect(await ada.page.evaluate(() => navigator.clipboard.readText())).toBe(
      `forgotten words\n${before}`,
    );

    // It outlives the page, and the page does not try it again.
    await ada.page.reload();
    await ada.openFile("poem.txt");
    await aside(ada).waitFor();
    expect(await ada.text()).toBe(before);
    await aside(ada).getByRole("button", { name: "Put back" }).click();
    await aside(ada).waitFor({ state: "detached" });
    await ada.isSaved();
    await until("Linus has it", async () => (await linus.text()) === `forgotten words\n${before}`);
    await ada.page.keyboard.press("Control+z");
    await until("it is an edit like any other", async () => (await linus.text()) === before);
  });

  it("is set aside when somebody may only read by the time it could be sent", async () => {
    const before = await linus.text();
    await server.kill();
    await linus.clickBehind("roses are red");
    await linus.type(" NOT SENT");
    await linus.page.getByText("is kept in this browser and sent when").waitFor();
    await linus.page.close({ runBeforeUnload: false });
    await server.restart();
    await ada.page.locator('[data-save-state="saved"]').waitFor();
    await ada.setRole("Linus", "viewer");
    await linus.returnTo(`${server.url}/p/${project}`);
    await linus.openFile("poem.txt");
    await aside(linus).waitFor();
    expect(await linus.text()).toBe(before);
    expect(await aside(linus).getByRole("button", { name: "Put back" }).count()).toBe(0);
    // As soon as the role allows it again, the words can go in.
    await ada.setRole("Linus", "editor");
    await aside(linus).getByRole("button", { name: "Put back" }).click();
    await until("Ada has it", async () => (await ada.text()).startsWith("roses are red NOT SENT,"));
  });
});

describe("a person who is taken out with something unsaved", () => {
  let grace: Person;

  it("is asked before leaving with what no browser keeps", async () => {
    grace = await Person.arrive(browser, "Grace");
    await grace.context.addInitScript(
      "Object.defineProperty(window, 'indexedDB', { value: undefined })",
    );
    // The connection breaks just when the project's part of the page is fetched.
    let broken = 0;
    await grace.page.route(/ProjectPage-.*\.js/, (route) =>
      ++broken === 1 ? route.abort() : route.continue(),
    );
    await grace.follow(link);
    await grace.openFile("poem.txt");
    await grace.isSaved();
    expect(broken).toBe(2);
    await server.kill();
    await grace.clickBehind("violets");
    await grace.type(" (Grace)");
    await grace.page.getByText("is only in this page: keep it open").waitFor();
    await grace.page.getByRole("link", { name: "Start page" }).click();
    await grace.page.getByRole("alertdialog", { name: "Leave without saving?" }).waitFor();
    await grace.picture("leave");
    await grace.page.getByRole("button", { name: "Stay" }).click();
    expect(await grace.text()).toContain("violets (Grace)");
  });

  it("[S52] can still download and copy it", async () => {
    await grace.page.route("**/socket-tickets", (route) => route.abort());
    await server.restart();
    await ada.isSaved();
    await ada.page.evaluate(async () => {
      const project = `/api/v1/projects/${location.pathname.split("/").at(-1)}`;
      const { members } = await (await fetch(project)).json();
      const { id } = members.find((member: { name: string }) => member.name === "Grace");
      const answer = await fetch(`${project}/members/${id}`, {
        method: "DELETE",
        headers: { "x-ensemble": "1" },
      });
      if (!answer.ok) throw new Error(await answer.text());
    });
    await grace.page.unroute("**/socket-tickets");
    const unsaved = grace.page.getByRole("region", { name: "Not saved" });
    await unsaved.getByText("poem.txt").waitFor();
    await grace.page.getByRole("heading", { name: "You are not in this project" }).waitFor();
    await grace.picture("taken-out");
    const [download] = await Promise.all([
      grace.page.waitForEvent("download"),
      unsaved.getByRole("button", { name: "Download" }).click(),
    ]);
    expect(await readFile(await download.path(), "utf8")).toContain("violets (Grace)");
    await unsaved.getByRole("button", { name: "Copy" }).click();
    await grace.page.getByText("is on the clipboard").waitFor();
    expect(await ada.text()).not.toContain("Grace");
  });

  it("is told when a part of the page does not load, and can load it again", async () => {
    await ada.page.route(/ProjectPage-.*\.js/, (route) => route.abort());
    await ada.page.reload();
    await ada.page.getByRole("heading", { name: "A part of this page did not load" }).waitFor();
    await ada.picture("broken");
    await ada.page.unroute(/ProjectPage-.*\.js/);
    // What the page says to its console about the missing part is no complaint about the rest.
    ada.complaints.length = 0;
    await ada.page.getByRole("button", { name: "Reload" }).click();
    await ada.openFile("poem.txt");
    await ada.isSaved();
  });
});

describe("a file the server serves in part or not now", () => {
  it("is open for reading where it is damaged, and says so", async () => {
    const wire = await Wire.of(ada.page);
    wire.change = (frame) =>
      frame.type === AUTH && frame.address.endsWith(document)
        ? { ...frame, body: Buffer.concat([Buffer.from([2]), string("readonly")]) }
        : frame;
    await ada.page.reload();
    await ada.openFile("poem.txt");
    await ada.page.getByText("This file is damaged on the server and can only be read").waitFor();
    await ada.picture("damaged");
    const before = await ada.text();
    await ada.page.locator(".cm-content").click();
    await ada.type("not possible");
    expect(await ada.text()).toBe(before);
    wire.change = (frame) => frame;
    await ada.page.reload();
    await ada.openFile("poem.txt");
    await ada.isSaved();

    // Too much at once: the page waits and comes back by itself.
    wire.say({ address: `${project}/${document}`, type: CLOSE, body: string("rate_limited") });
    await ada.page.getByText("Too much at once").waitFor();
    await ada.clickBehind("violets");
    await ada.type(" (slowly)");
    await ada.page.getByText("Too much at once").waitFor({ state: "detached" });
    await ada.isSaved();
    await until("Linus has it", async () => (await linus.text()).includes("violets (slowly)"));
  });

  it("stays in this page when somebody deletes it before all was saved", async () => {
    const wire = await Wire.of(ada.page);
    await ada.page.reload();
    await ada.newFile("draft.txt");
    await linus.page.locator('[data-row="file:draft.txt"]').waitFor();
    await ada.isSaved();
    wire.change = (frame) => (frame.type === SYNC_STATUS ? null : frame);
    await ada.page.locator(".cm-content").click();
    await ada.type("half a thought");
    await linus.page.locator('[data-row="file:draft.txt"]').focus();
    await linus.page.keyboard.press("Delete");
    await linus.page.getByRole("alertdialog").getByRole("button", { name: "Delete" }).click();
    await ada.page.getByText("Somebody deleted this file before").waitFor();
    await ada.picture("deleted");
    expect(await ada.text()).toBe("half a thought");
    const [download] = await Promise.all([
      ada.page.waitForEvent("download"),
      ada.page.getByRole("button", { name: "Download" }).click(),
    ]);
    expect(download.suggestedFilename()).toBe("draft.txt");
    expect(await readFile(await download.path(), "utf8")).toBe("half a thought");
    await ada.page.getByRole("button", { name: "Discard" }).click();
    await ada.page.getByText("No file is open").waitFor();
    await ada.isSaved();
  });

  it("is waited for where the server has too many connections", async () => {
    const wire = await Wire.of(ada.page);
    wire.change = (frame) =>
      frame.type === AUTH
        ? { ...frame, body: Buffer.concat([Buffer.from([1]), string("rate_limited")]) }
        : frame;
    await ada.page.reload();
    await ada.page.getByText("The server has too many connections.").waitFor();
    await ada.picture("crowded");
    wire.change = (frame) => frame;
    await ada.page.getByRole("button", { name: "Try now" }).click();
    await ada.isSaved();
    await ada.openFile("poem.txt");
    expect(await ada.text()).toContain("violets (slowly)");
  });

  it("has complained about nothing", () => {
    expect([...ada.complaints, ...linus.complaints]).toEqual([]);
  });
});

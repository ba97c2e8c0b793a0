/** A browser for the journeys, and the words they are told in. */

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

/** Where pictures of the page go. */
export const RESULTS = join(import.meta.dirname, "..", "test-results");

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

function findChromium(): string {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of NAMES) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // The next name may be the one this system uses.
    }
  }
  throw new Error("no Chromium found; on Debian: apt-get install chromium, or set CHROMIUM");
}

export async function launchBrowser(): Promise<Browser> {
  mkdirSync(RESULTS, { recursive: true });
  return chromium.launch({
    executablePath: findChromium(),
    args: [
      // Chromium has no sandbox for root, which is who runs this in a container.
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** The size of a laptop's window and of a phone. */
export const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 390, height: 844 };

/** One person at one browser. */
export class Person {
  /** What the page complained about: errors, and violations of its policy. */
  readonly complaints: string[] = [];

  private constructor(
    readonly name: string,
    readonly context: BrowserContext,
    public page: Page,
  ) {}

  static async arrive(browser: Browser, name: string, viewport = WIDE): Promise<Person> {
    const context = await browser.newContext({
      viewport,
      colorScheme: "light",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const person = new Person(name, context, await context.newPage());
    person.listen();
    return person;
  }

  /** Opens an address in a new page of the same browser. */
  async returnTo(url: string): Promise<void> {
    this.page = await this.context.newPage();
    this.listen();
    await this.page.goto(url);
  }

  private listen(): void {
    this.page.setDefaultTimeout(20_000);
    this.page.on("pageerror", (error) => this.complaints.push(String(error.stack ?? error)));
    this.page.on("console", (message) => {
      if (message.type() !== "error") return;
      // Browsers report every answer that is not a success, and a lost connection.
      if (/Failed to load resource|WebSocket connection to/.test(message.text())) return;
      this.complaints.push(message.text());
    });
  }

  /** Makes a project from the start page. */
  async startProject(url: string, project: string): Promise<void> {
    const { page } = this;
    await page.goto(url);
    await page.getByRole("textbox", { name: "Project" }).fill(project);
    await page.getByLabel("Your name").fill(this.name);
    await page.getByRole("button", { name: "Start a project" }).click();
    await page.waitForURL(/\/p\//);
    await this.isSaved();
  }

  /** Goes through an invite link. */
  async follow(link: string): Promise<void> {
    const { page } = this;
    await page.goto(link);
    await page.getByLabel("Your name").fill(this.name);
    await page.getByRole("button", { name: "Join" }).click();
    await page.waitForURL(/\/p\//);
  }

  /** Makes a link in the share dialog. */
  async inviteLink(role: "Can edit" | "Can read"): Promise<string> {
    const { page } = this;
    await page.getByRole("button", { name: "Share" }).click();
    await page.getByRole("radio", { name: role }).click();
    const before = await page
      .getByLabel("Invite link")
      .inputValue()
      .catch(() => "");
    await page.getByRole("button", { name: /^(New|Create) link$/ }).click();
    await page.waitForFunction((old) => {
      const field = document.querySelector<HTMLInputElement>('[aria-label="Invite link"]');
      return field !== null && field.value !== old;
    }, before);
    const link = await page.getByLabel("Invite link").inputValue();
    await page.keyboard.press("Escape");
    return link;
  }

  async newFile(path: string): Promise<void> {
    const { page } = this;
    await page.getByRole("button", { name: "New file" }).first().click();
    await page.getByLabel("Path of the new file").fill(path);
    await page.keyboard.press("Enter");
    await page.locator(`[data-row="file:${path}"][aria-selected="true"]`).waitFor();
    await this.seesEditor();
  }

  async openFile(path: string): Promise<void> {
    await this.page.locator(`[data-row="file:${path}"]`).click();
    await this.seesEditor();
  }

  /** The id of the document that is shown. */
  async openDocument(): Promise<string> {
    const place = this.page.locator("[data-document]");
    await place.waitFor();
    return (await place.getAttribute("data-document")) ?? "";
  }

  /** Changes what somebody may do in this project, over HTTP with this browser's cookie. */
  async setRole(name: string, role: "editor" | "viewer"): Promise<void> {
    await this.page.evaluate(
      async ({ name, role }) => {
        const project = `/api/v1/projects/${location.pathname.split("/").at(-1)}`;
        const { members } = await (await fetch(project)).json();
        const { id } = members.find((member: { name: string }) => member.name === name);
        const answer = await fetch(`${project}/members/${id}`, {
          method: "PATCH",
          headers: { "content-type": "application/json", "x-ensemble": "1" },
          body: JSON.stringify({ role }),
        });
        if (!answer.ok) throw new Error(await answer.text());
      },
      { name, role },
    );
  }

  async seesEditor(): Promise<void> {
    await this.page.locator(".cm-content").waitFor();
  }

  /** Pastes as a person does, through the clipboard. */
  async paste(text: string): Promise<void> {
    await this.page.locator(".cm-content").click();
    await this.page.evaluate((value) => navigator.clipboard.writeText(value), text);
    await this.page.keyboard.press("Control+v");
  }

  /** The whole text of the editor, also what is not drawn. */
  async text(): Promise<string> {
    return this.page.evaluate(() => {
      const content = document.querySelector(".cm-content") as unknown as {
        cmTile: { root: { view: { state: { doc: { toString(): string } } } } };
      } | null;
      return content ? content.cmTile.root.view.state.doc.toString() : "";
    });
  }

  /** Puts the cursor right behind a piece of text, the first one from a place on. */
  async clickBehind(piece: string, from = 0): Promise<void> {
    await this.page.evaluate(
      ({ wanted, from }) => {
        const content = document.querySelector(".cm-content") as unknown as {
          cmTile: {
            root: {
              view: {
                state: { doc: { toString(): string } };
                dispatch(spec: object): void;
                focus(): void;
              };
            };
          };
        };
        const { view } = content.cmTile.root;
        const at = view.state.doc.toString().indexOf(wanted, from);
        if (at < 0) throw new Error(`the editor has no ${wanted}`);
        view.dispatch({
          selection: { anchor: at + wanted.length },
          scrollIntoView: true,
          userEvent: "select",
        });
        view.focus();
      },
      { wanted: piece, from },
    );
  }

  async type(text: string): Promise<void> {
    await this.page.keyboard.type(text);
  }

  /** Waits until the page says that everything is on the server's disk. */
  async isSaved(): Promise<void> {
    await this.page.locator('[data-save-state="saved"]').waitFor();
  }

  /** Asks the agent in the panel; returns the turn's card. */
  async ask(prompt: string) {
    const { page } = this;
    const before = await page.locator("article[data-turn]").count();
    const field = page.getByLabel("Prompt for the agent");
    await field.fill(prompt);
    await field.press("Enter");
    await page.locator("article[data-turn]").nth(before).waitFor();
    return page.locator("article[data-turn]").nth(before);
  }

  /** The lowest contrast between text and what is behind it, over elements and in both themes. */
  async contrast(selector: string): Promise<number> {
    let lowest = Number.POSITIVE_INFINITY;
    for (const colorScheme of ["light", "dark"] as const) {
      await this.page.emulateMedia({ colorScheme });
      // Colors change with a transition.
      await this.page.waitForTimeout(250);
      const found = await this.page.evaluate((wanted) => {
        const canvas = document.createElement("canvas");
        const paint = canvas.getContext("2d", { willReadFrequently: true });
        if (!paint) throw new Error("no canvas to mix colors on");
        const luminance = () => {
          const [red = 0, green = 0, blue = 0] = [...paint.getImageData(0, 0, 1, 1).data]
            .slice(0, 3)
            .map((part) => part / 255)
            .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
          return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        };
        const fill = (color: string) => {
          paint.fillStyle = color;
          paint.fillRect(0, 0, 1, 1);
        };
        return [...document.querySelectorAll(wanted)].map((element) => {
          const behind: string[] = [];
          for (let each: Element | null = element; each; each = each.parentElement) {
            behind.unshift(getComputedStyle(each).backgroundColor);
          }
          for (const color of behind) fill(color);
          const back = luminance();
          fill(getComputedStyle(element).color);
          const front = luminance();
          return (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
        });
      }, selector);
      if (found.length === 0) throw new Error(`nothing to look at: ${selector}`);
      lowest = Math.min(lowest, ...found);
    }
    await this.page.emulateMedia({ colorScheme: "light" });
    return lowest;
  }

  /** A picture of the page in both themes. */
  async picture(name: string): Promise<void> {
    for (const colorScheme of ["light", "dark"] as const) {
      await this.page.emulateMedia({ colorScheme });
      // Colors change with a transition.
      await this.page.waitForTimeout(250);
      const width = this.page.viewportSize()?.width ?? 0;
      await this.page.screenshot({ path: join(RESULTS, `${name}-${width}-${colorScheme}.png`) });
    }
    await this.page.emulateMedia({ colorScheme: "light" });
  }
}

/** The real server with a project and its people, its log read, and killed now and then. */

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestProject, TestServer, until } from "../server.ts";
import type { Member } from "./peer.ts";

/** Somebody who has to know when the server dies. */
export interface Witness {
  crashed(): void;
}

const NAMES = ["Ada", "Linus", "Grace", "Edsger", "Barbara"];

export class Stage {
  /** Whether it makes sense to connect. */
  up = true;
  crashes = 0;
  readonly witnesses = new Set<Witness>();

  private constructor(
    private readonly server: TestServer,
    readonly project: TestProject,
    readonly members: readonly Member[],
    private readonly folder: string,
    private readonly log: number,
  ) {}

  static async start(): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), "ensemble-honest-"));
    const log = openSync(join(folder, "log"), "a");
    const server = await TestServer.start({}, log);
    const project = await server.project("Honest");
    const members: Member[] = [{ name: "Olga", token: project.owner }];
    for (const name of NAMES) members.push({ name, token: await project.join("editor", name) });
    return new Stage(server, project, members, folder, log);
  }

  get socketUrl(): string {
    return `${this.server.socketUrl}/sync?project=${this.project.id}`;
  }

  get plainUrl(): string {
    return `${this.server.socketUrl}/sync/${this.project.id}`;
  }

  get origin(): string {
    return this.server.url;
  }

  /** Makes a document, again under another name if the server died meanwhile. */
  async document(name: string): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      await until("the server is up", () => this.up, 60_000);
      const { crashes } = this;
      try {
        return await this.project.document(`honest/${name}-${attempt}.txt`);
      } catch (error) {
        if (this.up && this.crashes === crashes) throw error;
      }
    }
  }

  /** Kills the server with whatever it had not stored, and starts it again. */
  async crash(): Promise<void> {
    this.up = false;
    this.crashes += 1;
    const killed = this.server.kill();
    for (const witness of this.witnesses) witness.crashed();
    await killed;
    await this.server.restart();
    this.up = true;
  }

  /** Stops the server as an operator would, and starts it again. */
  async restart(): Promise<void> {
    this.up = false;
    await this.server.stop();
    await this.server.restart();
    this.up = true;
  }

  /** What the server logged: nothing, when everybody is honest. */
  logged(): string[] {
    return readFileSync(join(this.folder, "log"), "utf8").split("\n").filter(Boolean);
  }

  async isHealthy(): Promise<boolean> {
    const response = await fetch(`${this.server.url}/health/ready`);
    return response.ok;
  }

  async close(): Promise<void> {
    await this.server.close();
    closeSync(this.log);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

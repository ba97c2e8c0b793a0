/** Starts a real server for a test, and speaks its HTTP for setting things up. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const BINARY = resolve(
  process.env.ENSEMBLE_BIN ?? join(import.meta.dirname, "..", "..", "target", "debug", "ensemble"),
);

/** Clients of tests type faster than any person, and are not to be slowed down. */
const HURRIED = {
  ENSEMBLE_LIMIT_FRAMES: "1000000/1000000",
  ENSEMBLE_LIMIT_BYTES: "1000000000/1000000000",
  ENSEMBLE_LIMIT_PRESENCE: "1000000/1000000",
};

/** A debug build on a busy machine needs a while for its first migration. */
const START_MS = 30_000;

const READY = /Ensemble is ready at (http:\/\/[\w.:[\]-]+)/;

/** A running server with data of its own. */
export class TestServer {
  private constructor(
    private readonly data: string,
    private readonly environment: Record<string, string>,
    private readonly log: "inherit" | number,
    private child: ChildProcess,
    /** `http://localhost:PORT`; the same after a restart. */
    readonly url: string,
  ) {}

  /** Starts one on a free port. Its log goes to this process's standard error, or to an open file. */
  static async start(
    environment: Record<string, string> = {},
    log: "inherit" | number = "inherit",
  ): Promise<TestServer> {
    if (!existsSync(BINARY)) {
      throw new Error(`there is no server at ${BINARY}; build it or set ENSEMBLE_BIN`);
    }
    const data = mkdtempSync(join(tmpdir(), "ensemble-test-"));
    const { child, url } = await launch(data, "127.0.0.1:0", environment, log);
    return new TestServer(data, environment, log, child, url);
  }

  get socketUrl(): string {
    return this.url.replace("http", "ws");
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<void> {
    await end(this.child, "SIGKILL");
  }

  /** Ends the process as an operator would. */
  async stop(): Promise<void> {
    await end(this.child, "SIGTERM");
  }

  /** Starts it again on the same port and data. */
  async restart(): Promise<void> {
    const { child } = await launch(
      this.data,
      `127.0.0.1:${new URL(this.url).port}`,
      this.environment,
      this.log,
    );
    this.child = child;
  }

  /** Ends it and removes its data. */
  async close(): Promise<void> {
    await this.kill();
    rmSync(this.data, { recursive: true, force: true });
  }

  /** A request with a bearer token; throws on anything but success. */
  async call<T = unknown>(
    method: string,
    path: string,
    options: { token?: string; body?: unknown } = {},
  ): Promise<T> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        ...(options.token ? { authorization: `Bearer ${options.token}` } : {}),
        ...(options.body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text ? JSON.parse(text) : null) as T;
  }

  /** A new project with an owner. */
  async project(name = "Test", owner = "Olga"): Promise<TestProject> {
    const made = await this.call<{ project: { id: string }; token: string }>("POST", "/projects", {
      body: { name, your_name: owner, template: "empty" },
    });
    return new TestProject(this, made.project.id, made.token);
  }
}

/** A project and its owner's token. */
export class TestProject {
  constructor(
    readonly server: TestServer,
    readonly id: string,
    readonly owner: string,
  ) {}

  /** Somebody new joins by a link; returns their token. */
  async join(role: "editor" | "viewer", name: string): Promise<string> {
    const { secret } = await this.server.call<{ secret: string }>(
      "POST",
      `/projects/${this.id}/invites`,
      { token: this.owner, body: { role } },
    );
    const { token } = await this.server.call<{ token: string }>("POST", "/join", {
      body: { secret, name },
    });
    return token;
  }

  /** Makes a document and returns its id. */
  async document(path: string, text = ""): Promise<string> {
    const { id } = await this.server.call<{ id: string }>(
      "POST",
      `/projects/${this.id}/documents`,
      { token: this.owner, body: { path, text } },
    );
    return id;
  }

  /** The text as the server has it. */
  async text(document: string): Promise<string> {
    const response = await fetch(
      `${this.server.url}/api/v1/projects/${this.id}/documents/${document}/text`,
      { headers: { authorization: `Bearer ${this.owner}` } },
    );
    if (!response.ok) throw new Error(`text: ${response.status} ${await response.text()}`);
    return response.text();
  }

  /** A one-time ticket for a socket. */
  async ticket(token: string): Promise<string> {
    const { ticket } = await this.server.call<{ ticket: string }>("POST", "/socket-tickets", {
      token,
      body: {},
    });
    return ticket;
  }
}

/** Waits until a condition holds; says what was waited for when it never does. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  milliseconds = 20_000,
): Promise<void> {
  const end = Date.now() + milliseconds;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}

async function launch(
  data: string,
  listen: string,
  environment: Record<string, string>,
  log: "inherit" | number,
): Promise<{ child: ChildProcess; url: string }> {
  const inherited = Object.fromEntries(
    // A key or a setting of the machine must not change what is tested.
    Object.entries(process.env).filter(([key]) => !/^(ENSEMBLE_|OPENAI_)/.test(key)),
  );
  const child = spawn(BINARY, ["serve", "--listen", listen, "--data", data], {
    stdio: ["ignore", "pipe", log],
    env: { ...inherited, ...HURRIED, ENSEMBLE_LOG: "warn", ...environment },
  });
  // A run that is broken off must not leave servers behind.
  const last = () => child.kill("SIGKILL");
  process.once("exit", last);
  child.once("exit", () => process.off("exit", last));
  const { stdout } = child;
  if (!stdout) throw new Error("the child was started with a pipe for its output");
  const url = await new Promise<string>((found, failed) => {
    const timer = setTimeout(
      () => failed(new Error("the server did not say that it is ready")),
      START_MS,
    );
    const lines = createInterface({ input: stdout });
    lines.on("line", (line) => {
      const match = READY.exec(line);
      if (!match?.[1]) return;
      clearTimeout(timer);
      found(match[1]);
    });
    child.once("exit", (code) => {
      clearTimeout(timer);
      failed(new Error(`the server ended with ${code} before it was ready`));
    });
    child.once("error", failed);
  });
  return { child, url };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill(signal);
  await ended;
}

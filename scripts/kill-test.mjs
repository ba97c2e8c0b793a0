// Kills the server with -9 while two people type and the agent writes, and counts what was lost.
//   node scripts/kill-test.mjs [KILLS] [SEED]
//
// The people are unmodified `@hocuspocus/provider` clients. What is acknowledged is what that client says:
// nothing unsynced. After each kill the text is read over HTTP before anybody reconnects, so that no client
// can give back what the server lost:
// - every acknowledged line is there exactly once, and every line whose removal was acknowledged is not;
// - no line is there twice;
// - no turn is left queued or running.
// Then everybody reconnects and types on. At the end all texts are the same.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { top } from "./walk.mjs";

const KILLS = Number(process.argv[2] ?? 30);
const SEED = Number(process.argv[3] ?? Date.now() % 2 ** 31);
const BINARY = process.env.ENSEMBLE_BIN ?? join(top, "target", "debug", "ensemble");

/** Milliseconds between two edits of one person: faster than anybody types. */
const EDIT_EVERY = 4;
/** Longest time of typing before a kill, in milliseconds. */
const TYPING = 400;
/** Lines a person keeps; above that lines are removed as often as they are added. */
const KEPT_LINES = 400;
/** How long anything may take, in milliseconds: generous, for busy machines. */
const PATIENCE = 60_000;

// The clients come from the front end's packages. The provider and this file must share one copy of Yjs, which
// the provider loads by `import` or by `require`, and the two are different copies.
const require = createRequire(join(top, "frontend", "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { HocuspocusProvider, HocuspocusProviderWebsocket } = await load("@hocuspocus/provider");
const { default: WebSocket } = await load("ws");

/** A small generator, so that what is typed where can be repeated. */
let state = SEED >>> 0 || 1;
function random(below) {
  state ^= state << 13;
  state >>>= 0;
  state ^= state >>> 17;
  state ^= state << 5;
  state >>>= 0;
  return state % below;
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(what, condition) {
  const end = Date.now() + PATIENCE;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await sleep(10);
  }
}

const data = mkdtempSync(join(tmpdir(), "ensemble-kill-"));
let server;
let url;

async function start() {
  const environment = Object.fromEntries(
    // A key or a setting of the machine must not change what is tested.
    Object.entries(process.env).filter(([name]) => !/^(ENSEMBLE_|OPENAI_)/.test(name)),
  );
  const listen = url ? new URL(url).host : "127.0.0.1:0";
  server = spawn(BINARY, ["serve", "--listen", listen, "--data", data], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...environment, ENSEMBLE_LOG: "error" },
  });
  const child = server;
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the server did not start")), PATIENCE);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const port = /Ensemble is ready at http:\/\/[^/\s]*:(\d+)/.exec(line)?.[1];
      if (!port) return;
      url = `http://127.0.0.1:${port}`;
      clearTimeout(timer);
      child.removeAllListeners("exit");
      resolve();
    });
  });
}

async function end(signal) {
  const child = server;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  return ended;
}

async function call(method, path, token, body) {
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    headers: {
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(body ? { "content-type": "application/json" } : {}),
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return response.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(text) : text;
}

/** One person: a stock client, and what it typed and was told is saved. */
class Person {
  constructor(name, token, address) {
    this.name = name;
    this.typed = 0;
    /** Lines that are typed and not removed; true once acknowledged. */
    this.lines = new Map();
    /** Lines that are removed; true once acknowledged. */
    this.removed = new Map();
    this.refused = [];
    this.socket = new HocuspocusProviderWebsocket({
      url: `${url.replace("http", "ws")}/sync`,
      WebSocketPolyfill: WebSocket,
      delay: 50,
      minDelay: 50,
      maxDelay: 200,
      jitter: false,
    });
    this.provider = new HocuspocusProvider({
      name: address,
      websocketProvider: this.socket,
      token,
      onAuthenticationFailed: ({ reason }) => this.refused.push(reason),
      onUnsyncedChanges: ({ number }) => {
        if (number === 0) this.acknowledged();
      },
    });
    this.provider.attach();
    this.text = this.provider.document.getText("content");
  }

  acknowledged() {
    for (const line of this.lines.keys()) this.lines.set(line, true);
    for (const line of this.removed.keys()) this.removed.set(line, true);
  }

  isSaved() {
    return this.provider.isSynced && !this.provider.hasUnsyncedChanges;
  }

  /** Types a line at the beginning of some line, or removes one of its own. */
  edit() {
    const text = this.text.toString();
    const own = [...this.lines.keys()];
    if (own.length > 0 && random(KEPT_LINES) < Math.min(own.length / 2, KEPT_LINES / 2)) {
      const line = own[random(own.length)];
      const at = text.indexOf(line);
      if (at < 0) throw new Error(`${this.name} cannot see what they typed: ${line}`);
      this.lines.delete(line);
      this.removed.set(line, false);
      this.text.delete(at, line.length);
      return;
    }
    const starts = [0];
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
    this.typed += 1;
    const line = `# ${this.name}-${this.typed};\n`;
    this.lines.set(line, false);
    this.text.insert(starts[random(starts.length)], line);
  }

  /** What a text that was just read from disk lacks or has too much of. */
  faults(text) {
    const found = [];
    for (const [line, saved] of this.lines) {
      const times = text.split(line).length - 1;
      if (times > 1) found.push(`doubled: ${line.trim()}`);
      if (saved && times === 0) found.push(`lost: ${line.trim()}`);
    }
    for (const [line, saved] of this.removed) {
      const times = text.split(line).length - 1;
      if (times > 1) found.push(`doubled: ${line.trim()}`);
      if (saved && times > 0) found.push(`back again: ${line.trim()}`);
    }
    return found;
  }
}

let survived = 0;
let failed = 0;
let checked = 0;
let acknowledgedAtKill = 0;
const problems = [];

try {
  await start();
  const made = await call("POST", "/projects", null, { name: "Kill", your_name: "Ada", template: "empty" });
  const project = made.project.id;
  const invite = await call("POST", `/projects/${project}/invites`, made.token, { role: "editor" });
  const joined = await call("POST", "/join", null, { secret: invite.secret, name: "Bob" });
  const { id: document } = await call("POST", `/projects/${project}/documents`, made.token, { path: "kill.py" });
  const readText = () => call("GET", `/projects/${project}/documents/${document}/text`, made.token);
  const address = `${project}/${document}`;
  const people = [new Person("ada", made.token, address), new Person("bob", joined.token, address)];
  const everybodySaved = () => people.every((person) => person.isSaved());
  await until("both are in", everybodySaved);

  for (let kill = 1; kill <= KILLS; kill += 1) {
    const timers = people.map((person) =>
      setInterval(() => {
        try {
          person.edit();
        } catch (error) {
          problems.push(error.message);
        }
      }, EDIT_EVERY),
    );
    if (kill % 3 === 0) {
      await call("POST", `/projects/${project}/turns`, made.token, {
        prompt: "add a function fibonacci",
        document,
      });
    }
    await sleep(20 + random(TYPING));
    await end("SIGKILL");
    for (const timer of timers) clearInterval(timer);
    for (const person of people) {
      acknowledgedAtKill += [...person.lines.values(), ...person.removed.values()].filter(Boolean).length;
      checked += person.lines.size + person.removed.size;
    }

    // Read before anybody can come back: the people's sockets are let go of until then.
    for (const person of people) person.socket.disconnect();
    await start();
    const text = await readText();
    const faults = people.flatMap((person) => person.faults(text));
    const turns = await call("GET", `/projects/${project}/turns`, made.token);
    for (const turn of turns.filter(({ status }) => status === "queued" || status === "running")) {
      faults.push(`turn ${turn.id} is still ${turn.status}`);
    }
    for (const person of people) person.socket.connect();
    await until("everything is saved again", everybodySaved);
    await until("both see the same", () => people[0].text.toString() === people[1].text.toString());
    for (const person of people) {
      faults.push(...person.refused.map((reason) => `${person.name} was refused: ${reason}`));
      person.refused = [];
      // What was removed and is gone for good need not be looked for again.
      person.removed.clear();
    }
    faults.push(...problems.splice(0));
    if (faults.length > 0) {
      failed += 1;
      console.error(`kill ${kill}:\n  ${faults.slice(0, 10).join("\n  ")}`);
    } else {
      survived += 1;
    }
  }

  const code = await end("SIGTERM");
  if (code !== 0) throw new Error(`the server stopped with ${code}`);
  for (const person of people) person.socket.disconnect();
  await start();
  const last = await readText();
  const whole = people.flatMap((person) => person.faults(last));
  if (whole.length > 0 || last !== people[0].text.toString()) {
    failed += 1;
    console.error(`at the end the text on disk differs from what people see\n  ${whole.slice(0, 10).join("\n  ")}`);
  }
  for (const person of people) {
    person.provider.destroy();
    person.socket.destroy();
  }
  const typed = people.reduce((sum, person) => sum + person.typed, 0);
  console.log(
    `${typed} lines typed, ${acknowledgedAtKill} of ${checked} looked for after a kill were acknowledged, seed ${SEED}`,
  );
} catch (error) {
  failed += 1;
  console.error(error);
} finally {
  server?.kill("SIGKILL");
  rmSync(data, { recursive: true, force: true });
}
console.log(`${survived} kills survived, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** One document and the people in it, from the first letter until all have the same text. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as Y from "yjs";
import { type Journal, type Kind, Peer } from "./peer.ts";
import { Random } from "./random.ts";
import type { Stage, Witness } from "./stage.ts";
import type { Tally } from "./tally.ts";

/** How long a round may take to settle, in milliseconds: for slow machines. */
const PATIENCE = 60_000;
/** Ticks of editing in one round. */
const TICKS = 40;
const PEERS = 5;
const RESULTS = join(import.meta.dirname, "..", "..", "test-results");

/** What a round is about. */
const FLAVOURS = {
  /** Everybody edits everywhere. */
  mixed: 10,
  /** Connections break all the time. */
  storm: 2,
  /** Some are away for hours and go on typing. */
  hours: 2,
  /** The same, and everybody types at the end. */
  notes: 1,
};
type Flavour = keyof typeof FLAVOURS;

/** One thing that was done, for replaying. */
export interface Entry {
  peer: number;
  member: number;
  what: "open" | "update" | "step 2";
  kind: string;
  bytes?: Uint8Array;
}

/** Something honest was refused, or texts differ. */
export class Dishonoured extends Error {}

export class Story implements Journal, Witness {
  private readonly random: Random;
  private readonly peers: Peer[] = [];
  private readonly entries: Entry[] = [];
  private readonly refusals: string[] = [];
  private made = 0;
  private now = 0;
  private round = 0;
  /** What somebody who is still there had when the server died. */
  private readonly kept = new Map<number, number>();
  /** The text at the end. */
  text = "";

  private constructor(
    private readonly stage: Stage,
    private readonly tally: Tally,
    readonly seed: number,
    readonly document: string,
  ) {
    this.random = new Random(seed);
  }

  static async begin(stage: Stage, tally: Tally, seed: number): Promise<Story> {
    const document = await stage.document(`${seed}`);
    const story = new Story(stage, tally, seed, document);
    for (let count = story.random.between(3, PEERS); count > 0; count--) story.arrive();
    return story;
  }

  /** Rounds until enough updates were sent; gives the text. */
  async run(isEnough: () => boolean, rounds: number): Promise<void> {
    this.stage.witnesses.add(this);
    try {
      while (this.round < rounds && !isEnough()) {
        await this.play(this.random.weighted(FLAVOURS));
        await this.settle();
        this.round += 1;
        this.tally.rounds += 1;
      }
    } catch (error) {
      throw this.fail(error);
    } finally {
      this.stage.witnesses.delete(this);
      for (const peer of this.peers) peer.close();
      this.peers.length = 0;
      this.entries.length = 0;
    }
  }

  sent(peer: Peer, kind: Kind, bytes: Uint8Array): void {
    this.tally.sent(kind, bytes.length);
    const what = kind === "reply" ? "step 2" : "update";
    const member = this.stage.members.indexOf(peer.member);
    this.entries.push({ peer: peer.index, member, what, kind, bytes });
  }

  opened(peer: Peer): void {
    const member = this.stage.members.indexOf(peer.member);
    this.entries.push({ peer: peer.index, member, what: "open", kind: "" });
  }

  refused(peer: Peer, reason: string): void {
    this.tally.refusals += 1;
    this.refusals.push(`peer ${peer.index} after entry ${this.entries.length}: ${reason}`);
  }

  /** Some never come back; what others had of their text has to stay. */
  crashed(): void {
    this.tally.happened("crash survived by a document");
    // What a tab was told of in part, by another tab that was offline, only that other one can complete.
    const isAwaited = this.peers.some((peer) => peer.waits);
    while (!isAwaited && this.peers.length > 2 && this.random.chance(0.4)) {
      const gone = this.peers.splice(this.random.below(this.peers.length), 1);
      for (const peer of gone) peer.close();
      this.tally.happened("author gone for good");
    }
    this.kept.clear();
    for (const peer of this.peers) {
      for (const [client, clock] of peer.clocks()) {
        this.kept.set(client, Math.max(clock, this.kept.get(client) ?? 0));
      }
      // Who sees that nothing is saved any more tends to load the page again.
      peer.drop(this.now + this.random.below(20));
      if (this.random.chance(0.3)) {
        this.tally.happened("reload during an outage");
        peer.reload(this.random.pick(["before", "opened", "synced", "replied"]));
      }
    }
  }

  private arrive(): void {
    const { random, stage } = this;
    const habits = {
      gc: random.chance(0.7),
      flush: random.chance(0.25) ? random.between(2, 10) : 0,
      announces: random.chance(0.8),
    };
    const member = random.pick(stage.members);
    const crossTab = random.chance(0.3);
    const siblings: () => Peer[] = () =>
      crossTab ? this.peers.filter((other) => other.member === member) : [];
    const address = `${stage.project.id}/${this.document}`;
    const url = stage.socketUrl;
    this.made += 1;
    this.peers.push(
      new Peer(this.made, member, habits, random.fork(), this, url, address, siblings),
    );
  }

  private async play(flavour: Flavour): Promise<void> {
    const { random, tally } = this;
    tally.happened(`round: ${flavour}`);
    const away = new Set<Peer>();
    for (const peer of this.peers) {
      peer.setDelay(random.pick([0, 0, 2, 10, 40]));
      if ((flavour === "hours" || flavour === "notes") && random.chance(0.5)) {
        peer.drop(this.now + TICKS);
        away.add(peer);
        tally.happened("hours offline");
      }
    }
    for (let tick = 0; tick < TICKS; tick++) {
      let idle = true;
      for (const peer of [...this.peers]) {
        if (!peer.isDown && random.chance(flavour === "storm" ? 0.1 : 0.004)) {
          peer.drop(this.now + random.below(flavour === "storm" ? 4 : 15));
          tally.happened("connection lost");
        }
        if (random.chance(0.004)) this.disturb(peer);
        if (random.chance(0.5) && !peer.isBusy && !peer.isCongested) {
          idle = false;
          // Hours have more typing in them than minutes.
          for (let times = away.has(peer) ? 4 : 1; times > 0; times--) {
            if (flavour === "notes") peer.typeAtEnd(random.between(3, 20));
            else peer.edit();
          }
        }
      }
      if (random.chance(0.01) && this.peers.length < PEERS + 1) {
        this.arrive();
        tally.happened("somebody comes in");
      }
      await this.step(idle);
    }
  }

  /** Something that happens to a tab. */
  private disturb(peer: Peer): void {
    const { random, tally } = this;
    switch (random.below(3)) {
      case 0:
        tally.happened("reload from a local store");
        peer.reload(random.pick(["before", "opened", "synced", "replied"]));
        break;
      case 1:
        tally.happened("forced sync");
        peer.forceSync();
        break;
      default:
        tally.happened("client id drawn anew");
        peer.changeClient();
    }
  }

  private async step(idle: boolean): Promise<void> {
    this.now += 1;
    for (const peer of this.peers) {
      if (peer.isDown && this.stage.up && this.now >= peer.offlineUntil) peer.connect();
      peer.pump(this.now);
    }
    this.look();
    await new Promise((resolve) => (idle ? setTimeout(resolve, 1) : setImmediate(resolve)));
  }

  private look(): void {
    if (this.refusals.length > 0) {
      throw new Dishonoured(`honest updates were refused:\n${this.refusals.join("\n")}`);
    }
  }

  /** Everybody comes back, and then everybody has the same. */
  private async settle(): Promise<void> {
    const end = Date.now() + PATIENCE;
    for (;;) {
      for (const peer of this.peers) {
        peer.offlineUntil = 0;
        peer.hurry();
      }
      if (this.stage.up && this.peers.every((peer) => peer.isSettled) && this.agree()) break;
      if (Date.now() > end) {
        const states = this.peers.map((peer) => `${peer.describe()}, ${peer.text.length} units`);
        throw new Dishonoured(`it did not settle:\n${states.join("\n")}`);
      }
      await this.step(true);
    }
    const crashes = this.stage.crashes;
    const [first, ...others] = this.peers;
    if (!first) throw new Error("somebody is always there");
    this.text = first.text;
    this.tally.textsEqual += others.length;
    for (const [client, clock] of this.kept) {
      const now = Y.getState(first.doc.store, client);
      if (now < clock) {
        throw new Dishonoured(`text of client ${client} was lost: ${clock} units became ${now}`);
      }
    }
    // The server may have died meanwhile; then the next round compares.
    if (!this.stage.up) return;
    await this.compare(crashes);
  }

  /** The server's own text. */
  async compare(crashes = this.stage.crashes): Promise<void> {
    let text: string;
    try {
      text = await this.stage.project.text(this.document);
    } catch (error) {
      if (!this.stage.up || this.stage.crashes !== crashes) return;
      throw error;
    }
    if (text !== this.text) throw new Dishonoured("the server has another text than its clients");
    this.tally.textsEqual += 1;
  }

  /** Whether all have the same insertions, and the same deletions: an acknowledgement may overtake news. */
  private agree(): boolean {
    const [first, ...others] = this.peers.map((peer) => ({
      text: peer.text,
      clocks: peer.clocks(),
    }));
    return others.every(
      (other) =>
        first?.text === other.text &&
        first.clocks.size === other.clocks.size &&
        [...other.clocks].every(([client, clock]) => first.clocks.get(client) === clock),
    );
  }

  /** Writes down what was done, so that it can be done again. */
  private fail(error: unknown): Error {
    mkdirSync(RESULTS, { recursive: true });
    const file = join(RESULTS, `honest-${this.seed}.jsonl`);
    const lines = this.entries.map(({ bytes, ...entry }) =>
      JSON.stringify(bytes ? { ...entry, bytes: Buffer.from(bytes).toString("base64") } : entry),
    );
    writeFileSync(file, `${lines.join("\n")}\n`);
    const reason = error instanceof Error ? error : new Error(String(error));
    const where = `seed ${this.seed}, round ${this.round}; what was sent is in test-results/honest-${this.seed}.jsonl`;
    return new Dishonoured(`${reason.message}\n${where}`, { cause: reason });
  }
}

// Writes what fuzzing starts from into fuzz/corpus: every hostile update and some honest bytes, in the form each
// target reads.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
const folder = path.join(root, "backend/sync/tests/hostile-updates");
/** An address as clients write it: two ids of 22 characters. */
const ADDRESS = `${"A".repeat(22)}/${"B".repeat(22)}`;

const hex = (text) => Buffer.from(text.trim(), "hex");
const fixture = (name) => hex(readFileSync(path.join(folder, name), "utf8"));

/** An unsigned number as lib0 writes it. */
function number(value) {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}
const block = (bytes) => Buffer.concat([number(bytes.length), bytes]);

// Client 1 has typed "hello" before. Two more clients type, delete, and type at each other's edges.
const HONEST = [
  "0101020084010403666f6f00", // client 2: "foo" behind "hello"
  "010102004401000362617200", // client 2: "bar" before "hello"
  "01010200c40101010202e282ac00", // client 2: "€" inside "hello"
  "010103008401040461f09f988000", // client 3: "a😀" behind "hello"
  "0001010101010301", // deletes "el" and "l"
  "010102008401040178010101000001", // types and deletes
].map(hex);

const updates = readdirSync(folder)
  .filter((name) => name.endsWith(".hex") && !name.endsWith(".base.hex"))
  .map((name) => {
    const base = name.replace(/\.hex$/, ".base.hex");
    const before = readdirSync(folder).includes(base) ? [fixture(base)] : [];
    return [...before, fixture(name)];
  })
  .concat(HONEST.map((update) => [update]), [HONEST]);

const seeds = { update: [], client_frame: [], message: [], presence: [], state_vector: [] };
for (const list of updates) {
  for (const route of [0, 1]) {
    // A length is one byte there: longer updates are left out.
    if (list.every((update) => update.length < 256)) {
      seeds.update.push(Buffer.concat(list.flatMap((update) => [Buffer.from([route, update.length]), update])));
    }
  }
  for (const update of list) {
    for (const kind of [1, 2]) {
      const message = Buffer.concat([number(0), number(kind), block(update)]);
      seeds.message.push(message);
      seeds.client_frame.push(Buffer.concat([block(Buffer.from(ADDRESS)), message]));
    }
  }
}
const vector = Buffer.concat([number(2), number(1), number(5), number(2 ** 40), number(300)]);
const presence = Buffer.concat([
  number(2),
  ...[7, 2 ** 32 - 1].flatMap((client, at) => [
    number(client),
    number(at + 1),
    block(Buffer.from(at ? "null" : '{"user":{"name":"Ann"},"cursor":null}')),
  ]),
]);
seeds.state_vector.push(vector, number(0));
seeds.presence.push(presence, number(0));
seeds.message.push(Buffer.concat([number(0), number(0), block(vector)]), Buffer.concat([number(1), block(presence)]));
const frame = (type, ...rest) => Buffer.concat([block(Buffer.from(ADDRESS)), number(type), ...rest]);
seeds.client_frame.push(
  frame(0, number(0), block(vector)),
  frame(1, block(presence)),
  frame(2, number(0), block(Buffer.from("token")), block(Buffer.from("4.0.0"))),
  frame(3),
  frame(5, block(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"turn.start","params":{}}'))),
  frame(7, block(Buffer.from("bye"))),
);

for (const [target, list] of Object.entries(seeds)) {
  const corpus = path.join(root, "fuzz/corpus", target);
  mkdirSync(corpus, { recursive: true });
  for (const seed of list) {
    writeFileSync(path.join(corpus, createHash("sha1").update(seed).digest("hex")), seed);
  }
  console.log(`${target}: ${list.length} seeds`);
}

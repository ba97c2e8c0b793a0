/**
 * What this browser keeps of documents: edits the server has not stored yet, and copies of text
 * that it does not take. Storage can be full, switched off or taken away; then nothing is kept, and
 * whoever asked is told so.
 */

/** Edits of a page that were not stored when they were written here. */
export interface KeptEdits {
  key: string;
  /** `{project}/{document}`. */
  address: string;
  epoch: string;
  at: number;
  /** A Yjs update: everything since all was stored last. */
  bytes: Uint8Array;
}

/** What is known about how a copy relates to the text of the server. */
export type CopyForm =
  /** The same history: what is only in the copy is known unit by unit. */
  | "replica"
  /** Another history: the two can only be compared as texts. */
  | "text"
  /** Only what was typed, without what was around it. */
  | "typed";

/** Text of a document that the server does not take. */
export interface KeptCopy {
  key: string;
  /** `{project}/{document}`. */
  address: string;
  path: string;
  at: number;
  /** Why, as a code of the server. */
  reason: string;
  form: CopyForm;
  /** A Yjs update that makes the copy's document. */
  bytes: Uint8Array;
}

interface Kinds {
  edits: KeptEdits;
  copies: KeptCopy;
}

const DATABASE = "ensemble";
const VERSION = 1;

/** The browser's database, behind four questions. */
export class Kept {
  private database: Promise<IDBDatabase | null> | null = null;

  /** Writes a record, over an older one with its key. False when it could not be kept. */
  async put<K extends keyof Kinds>(kind: K, record: Kinds[K]): Promise<boolean> {
    return (await this.run(kind, "readwrite", (store) => store.put(record))) !== null;
  }

  /** Forgets a record. */
  async forget(kind: keyof Kinds, key: string): Promise<void> {
    await this.run(kind, "readwrite", (store) => store.delete(key));
  }

  /** All records of a document, oldest first. */
  async of<K extends keyof Kinds>(kind: K, address: string): Promise<Kinds[K][]> {
    const found = await this.run(kind, "readonly", (store) =>
      store.index("address").getAll(address),
    );
    const records = (found?.value ?? []) as Kinds[K][];
    return records
      .filter((record) => record.bytes instanceof Uint8Array && typeof record.key === "string")
      .sort((a, b) => a.at - b.at);
  }

  private async run<T>(
    kind: keyof Kinds,
    mode: IDBTransactionMode,
    ask: (store: IDBObjectStore) => IDBRequest<T>,
  ): Promise<{ value: T } | null> {
    this.database ??= open();
    const database = await this.database;
    if (!database) return null;
    return new Promise((resolve) => {
      try {
        const transaction = database.transaction(kind, mode);
        const request = ask(transaction.objectStore(kind));
        transaction.oncomplete = () => resolve({ value: request.result });
        transaction.onerror = () => resolve(null);
        transaction.onabort = () => resolve(null);
      } catch {
        // The browser has taken the database away, which it may.
        this.database = null;
        resolve(null);
      }
    });
  }
}

function open(): Promise<IDBDatabase | null> {
  return new Promise((resolve) => {
    if (typeof indexedDB === "undefined") {
      resolve(null);
      return;
    }
    try {
      const request = indexedDB.open(DATABASE, VERSION);
      request.onupgradeneeded = () => {
        for (const kind of ["edits", "copies"]) {
          request.result
            .createObjectStore(kind, { keyPath: "key" })
            .createIndex("address", "address");
        }
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
      request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

/** Names a record apart from those of other tabs. */
export function newKey(): string {
  const part = () => Math.random().toString(36).slice(2, 10);
  return `${Date.now().toString(36)}-${part()}${part()}`;
}

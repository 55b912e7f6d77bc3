import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** What an output depends on, by name: two runs with equal facts write the same bytes. */
export type JournalFacts = Readonly<Record<string, string>>;

/** A journal as a run left it. */
export interface JournalState {
  readonly facts: JournalFacts;
  /** Tensors whose data was on disk before their line was written. */
  readonly finished: ReadonlySet<string>;
  /** Bytes of its whole lines: what follows them was cut off. */
  readonly length: number;
}

/**
 * The append-only list of what a run has finished: a line of JSON with the facts, then one line per tensor. A line
 * counts once it ends in a line feed; empty lines only say that the run is alive.
 */
export interface Journal {
  /** Appends lines and flushes them to disk. */
  append(names: readonly string[]): Promise<void>;
  /** Renews the file's modification time, by which another machine sees that this run is alive. */
  beat(): Promise<void>;
  close(): Promise<void>;
}

const format = 1;
/** A line per tensor: 256 MB are millions of them. */
const maxJournalBytes = 256 * 2 ** 20;

/** Begins a journal at `path`, which must not exist. */
export async function createJournal(path: string, facts: JournalFacts): Promise<Journal> {
  const handle = await open(path, "ax");
  const journal = journalOn(handle);
  await handle.appendFile(`${JSON.stringify({ format, facts })}\n`);
  await handle.sync();
  return journal;
}

/** Goes on with a journal that was read; what was cut off at its end goes. */
export async function continueJournal(path: string, { length }: JournalState): Promise<Journal> {
  const handle = await open(path, constants.O_WRONLY | constants.O_APPEND);
  await handle.truncate(length);
  return journalOn(handle);
}

/** Reads a journal; undefined where there is none, or nothing in it is whole, or another version wrote it. */
export async function readJournal(path: string): Promise<JournalState | undefined> {
  const handle = await open(path, "r").catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const { size } = await handle.stat();
    if (size > maxJournalBytes) return undefined;
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await handle.read(bytes, 0, size, 0);
    return parseJournal(bytes.subarray(0, bytesRead));
  } finally {
    await handle.close();
  }
}

/** Names of the facts that are not the same, with the values of both. */
export function differingFacts(
  before: JournalFacts,
  now: JournalFacts,
): { readonly name: string; readonly before: string; readonly now: string }[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  const factOf = (facts: JournalFacts, name: string) => (Object.hasOwn(facts, name) ? facts[name] : "none");
  return names
    .map((name) => ({ name, before: factOf(before, name), now: factOf(now, name) }))
    .filter((each) => each.before !== each.now);
}

function parseJournal(bytes: Buffer): JournalState | undefined {
  let length = 0;
  let facts: JournalFacts | undefined;
  const finished = new Set<string>();
  while (length < bytes.length) {
    const end = bytes.indexOf(10, length);
    if (end < 0) break;
    const line = bytes.toString("utf8", length, end);
    if (line !== "") {
      const value = parseLine(line);
      if (facts === undefined) {
        facts = factsOf(value);
        if (facts === undefined) return undefined;
      } else if (typeof value === "string") finished.add(value);
      else break; // a line that was not written whole: nothing after it counts
    }
    length = end + 1;
  }
  return facts === undefined ? undefined : { facts, finished, length };
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function factsOf(value: unknown): JournalFacts | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const header = value as { format?: unknown; facts?: unknown };
  if (header.format !== format || typeof header.facts !== "object" || header.facts === null) return undefined;
  const entries = Object.entries(header.facts);
  return entries.every(([, fact]) => typeof fact === "string") ? (header.facts as JournalFacts) : undefined;
}

function journalOn(handle: FileHandle): Journal {
  let closed: Promise<void> | undefined;
  return {
    async append(names) {
      await handle.appendFile(names.map((name) => `${JSON.stringify(name)}\n`).join(""));
      await handle.datasync();
    },
    async beat() {
      if (closed === undefined) await handle.appendFile("\n");
    },
    close() {
      closed ??= handle.close();
      return closed;
    },
  };
}

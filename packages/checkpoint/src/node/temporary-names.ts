import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { readdir, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";

/**
 * Names of the temporary siblings of an output: `.merged.loomweight-<kind>-<host>-<pid>-<started>-<random>`. The name
 * says which process it belongs to, so what a crashed run left behind is told from what a running one needs. `partial`:
 * an output being written, `replaced`: an old one on its way out, `resumable`: one being written with a journal, which a
 * later run can continue.
 */
export type TemporaryKind = "partial" | "replaced" | "resumable";

/** Within a resumable folder: what becomes the output, and the journal. */
export const outputName = "output";
export const journalName = "journal";

/** The process that a temporary sibling belongs to. */
export interface Owner {
  readonly host: string;
  readonly pid: number;
  /** When the process began, in the system's ticks; "0" where the system does not say. */
  readonly started: string;
}

/** A sibling of an output that some run made. */
export interface Temporary {
  readonly path: string;
  readonly kind: TemporaryKind;
  readonly owner: Owner;
}

/** A new name of its own beside `finalPath`; `released`: it belongs to no process (any more). */
export function temporaryPath(finalPath: string, kind: TemporaryKind, options: { released?: boolean } = {}): string {
  const { host, pid, started } = options.released === true ? { host: hostTag(), pid: 0, started: "0" } : currentOwner();
  const random = randomUUID().slice(0, 8);
  return join(dirname(finalPath), `${prefix(finalPath)}${kind}-${host}-${pid}-${started}-${random}`);
}

/** What runs, past or present, left beside `finalPath`. */
export async function findTemporaries(finalPath: string): Promise<Temporary[]> {
  const start = prefix(finalPath);
  const names = await readdir(dirname(finalPath)).catch(() => [] as string[]);
  return names.flatMap((name): Temporary[] => {
    if (!name.startsWith(start)) return [];
    const parts = /^(partial|replaced|resumable)-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}$/.exec(name.slice(start.length));
    if (parts === null) return [];
    const [, kind, host, pid, started] = parts;
    const owner = { host, pid: Number(pid), started };
    return [{ path: join(dirname(finalPath), name), kind: kind as TemporaryKind, owner }];
  });
}

/** Whether the process that made it may still run: one of another machine always may. */
export function mayBeRunning({ owner }: Temporary): boolean {
  if (owner.pid === 0) return false;
  if (!isOfThisMachine(owner)) return true;
  try {
    process.kill(owner.pid, 0); // signal 0 only asks
  } catch (error) {
    return (error as { code?: unknown }).code === "EPERM";
  }
  const started = startOf(owner.pid);
  return started === "0" || owner.started === "0" || started === owner.started; // else the number was given again
}

/** Whether its process is one that this machine can ask after. */
export function isOfThisMachine({ host }: Owner): boolean {
  return host === hostTag();
}

/**
 * Clears up after runs that were killed: their half-written folders go, and an output they had moved aside to replace
 * it comes back where nothing has taken its place. What cannot be moved or removed (another user's) stays, and what can
 * be continued.
 */
export async function recoverLeftovers(finalPath: string): Promise<void> {
  for (const leftover of await findTemporaries(finalPath)) {
    if (mayBeRunning(leftover)) continue;
    // Without its output a resumable folder is what a run killed right after its end left.
    if (leftover.kind === "resumable" && (await exists(join(leftover.path, outputName)))) continue;
    try {
      const gone = leftover.kind === "replaced" && !(await exists(finalPath));
      if (gone) await rename(leftover.path, finalPath);
      else await rm(leftover.path, { recursive: true, force: true });
    } catch {
      // It stands in nobody's way: every run writes under a name of its own.
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

function prefix(finalPath: string): string {
  const name = basename(finalPath);
  // The parts behind it take up to 70 bytes, and a file name may have 255.
  const short = Buffer.byteLength(name) <= 160 ? name : `${name.slice(0, 36)}~${hash(name)}`;
  return `.${short}.loomweight-`;
}

function currentOwner(): Owner {
  return { host: hostTag(), pid: process.pid, started: startOf(process.pid) };
}

function hostTag(): string {
  return hash(hostname());
}

/** Start time of a process in clock ticks since boot (Linux), else "0". */
function startOf(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command's name, in parentheses, may hold anything; the fields after it are numbers.
    return /^\d+$/.exec(text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "")?.[0] ?? "0";
  } catch {
    return "0";
  }
}

/** FNV-1a, 32 bits: tells names apart, protects nothing. */
function hash(text: string): string {
  let state = 0x811c9dc5;
  for (const byte of Buffer.from(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  return state.toString(16).padStart(8, "0");
}

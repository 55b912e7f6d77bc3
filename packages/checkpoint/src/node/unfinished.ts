import { lstat, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import { differingFacts, type JournalFacts, type JournalState, readJournal } from "./journal.ts";
import {
  findTemporaries,
  isOfThisMachine,
  journalName,
  mayBeRunning,
  outputName,
  type Temporary,
  temporaryPath,
} from "./temporary-names.ts";

/** An output that was begun with a journal and not finished. */
export interface Unfinished {
  /** The folder that holds the journal and the output. */
  readonly path: string;
  readonly state: JournalState;
}

/** A run of another machine whose journal has not changed for so long is taken for dead: it renews it every 15 s. */
const silenceMilliseconds = 180_000;

/**
 * Takes over what an interrupted run left of the output at `finalPath`: `resume` gives it where its facts are `facts`,
 * else it is removed (`force`) or refused. Runs that had finished no tensor leave nothing worth keeping: their folders
 * go. Throws `OUTPUT_UNFINISHED`, and `RESUME_MISMATCH` with the facts that differ.
 */
export async function takeUnfinished(
  finalPath: string,
  shown: string,
  options: { readonly force: boolean; readonly resume: boolean; readonly facts?: JournalFacts },
): Promise<Unfinished | undefined> {
  let taken: Unfinished | undefined;
  for (const leftover of await findTemporaries(finalPath)) {
    if (leftover.kind !== "resumable" || !(await isAbandoned(leftover))) continue;
    const state = await usableState(leftover.path);
    const discarded = state === undefined || (options.force && !options.resume);
    if (!discarded) {
      if (!options.resume) throw unfinished(shown, state);
      if (taken !== undefined) continue; // the first is continued, others are looked at when that one is done
      refuseOtherFacts(shown, state.facts, options.facts ?? {});
    }
    // One rename decides between runs that want it at the same time.
    const path = temporaryPath(finalPath, "resumable");
    const mine = await rename(leftover.path, path).then(
      () => true,
      () => false,
    );
    if (!mine) continue;
    if (discarded) await rm(path, { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined);
    else taken = { path, state };
  }
  return taken;
}

/** Whether nobody works on it: its process is dead or has let go of it, or is silent on another machine. */
export async function isAbandoned(temporary: Temporary): Promise<boolean> {
  if (!mayBeRunning(temporary)) return true;
  if (temporary.kind !== "resumable" || isOfThisMachine(temporary.owner)) return false;
  const journal = await stat(join(temporary.path, journalName)).catch(() => undefined);
  return journal !== undefined && Date.now() - journal.mtimeMs > silenceMilliseconds;
}

/** The journal of an unfinished output that holds anything worth continuing. */
async function usableState(path: string): Promise<JournalState | undefined> {
  const [state, output] = await Promise.all([
    readJournal(join(path, journalName)),
    lstat(join(path, outputName)).catch(() => undefined),
  ]);
  return output?.isDirectory() && state !== undefined && state.finished.size > 0 ? state : undefined;
}

function unfinished(file: string, { finished }: JournalState): LoomweightError {
  return new LoomweightError({
    code: "OUTPUT_UNFINISHED",
    file,
    problem: "an earlier run of this output was interrupted",
    found: `${finished.size} finished tensor${finished.size === 1 ? "" : "s"}`,
    fix: "Continue it (--resume, or resume: true), or discard it and begin anew (--force, or force: true).",
  });
}

function refuseOtherFacts(file: string, before: JournalFacts, now: JournalFacts): void {
  const differing = differingFacts(before, now);
  if (differing.length === 0) return;
  const shownFacts = differing.slice(0, 5);
  const list = (side: "before" | "now") => shownFacts.map((fact) => `${fact.name}: ${fact[side]}`).join("; ");
  throw new LoomweightError({
    code: "RESUME_MISMATCH",
    file,
    problem: `the interrupted run is not the same as this one: ${differing.map(({ name }) => name).join(", ")} differ${differing.length === 1 ? "s" : ""}`,
    expected: list("before"),
    found: list("now"),
    fix: "Restore what differs, or discard the interrupted run and begin anew (--force without --resume).",
  });
}

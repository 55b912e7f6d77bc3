import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import type { Checkpoint } from "../checkpoint.ts";

/** Weights that an output is made from, and the paths of the files they come from. */
export interface SourceFiles {
  readonly files: readonly string[];
  readonly checkpoint: Pick<Checkpoint, "tensors">;
}

/**
 * What tells whether the files of models and adapters are the ones that were seen before: size, modification time, and
 * a digest of what the headers say, by path. No data is read.
 */
export async function sourceFacts(...sources: readonly Iterable<SourceFiles>[]): Promise<Record<string, string>> {
  const facts: Record<string, string> = {};
  for (const { files, checkpoint } of sources.flatMap((each) => [...each])) {
    const header = digest([...checkpoint.tensors.values()]);
    for (const file of files) {
      // A file that is gone or out of reach is told when it is read.
      const found = await stat(file, { bigint: true }).catch(() => undefined);
      const seen =
        found === undefined
          ? "not found"
          : `${found.size} bytes of ${new Date(Number(found.mtimeMs)).toISOString()} (${found.mtimeNs})`;
      facts[file] = `${seen}, header ${header}`;
    }
  }
  return facts;
}

/** A short SHA-256 of plain data. */
export function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 16);
}

import { bytesSource, type Checkpoint, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import type { StateTensor } from "../runtime/runtime.ts";

/** Where a saved training stands. */
export interface SavedProgress {
  /** Steps done. */
  readonly step: number;
  /** Batches used. */
  readonly batches: number;
  readonly seed: number;
  readonly optimizer: string;
}

const key = "loomweight.training";

/** A whole training state as one safetensors file: parameters and buffers by their names, the rest under prefixes. */
export function packTraining(tensors: ReadonlyMap<string, Tensor>, progress: SavedProgress): Uint8Array<ArrayBuffer> {
  return writeSafetensors(tensors, { metadata: { format: "pt", [key]: JSON.stringify(progress) } });
}

/** Metadata of such a file. */
export function trainingMetadata(progress: SavedProgress): Record<string, string> {
  return { format: "pt", [key]: JSON.stringify(progress) };
}

/**
 * Reads what `packTraining` wrote, which must have exactly the tensors of this training. Throws `NOT_A_TRAINING`,
 * `RESUME_MISMATCH` naming tensors, seed or optimizer that differ.
 */
export async function unpackTraining(
  saved: Uint8Array | Checkpoint,
  wanted: ReadonlyMap<string, StateTensor>,
  { seed, optimizer }: { readonly seed: number; readonly optimizer: string },
): Promise<{ tensors: Record<string, Tensor>; progress: SavedProgress }> {
  const checkpoint = saved instanceof Uint8Array ? await openSafetensors(bytesSource(saved, "training")) : saved;
  const text = checkpoint.metadata[key];
  if (text === undefined) {
    throw new LoomweightError({
      code: "NOT_A_TRAINING",
      file: checkpoint.location,
      problem: "the file does not say where the training stood",
      expected: `"${key}" in its metadata`,
      fix: "Resume from what `save` gave; plain weights go into `parameters`.",
    });
  }
  const progress = readProgress(text, checkpoint.location);
  const mismatch = (problem: string, expected: string, found: string) =>
    new LoomweightError({ code: "RESUME_MISMATCH", file: checkpoint.location, problem, expected, found });
  if (progress.seed !== seed) throw mismatch("the training had another seed", `${progress.seed}`, `${seed}`);
  if (progress.optimizer !== optimizer) {
    throw mismatch("the training had another optimizer", progress.optimizer, optimizer);
  }
  const missing = [...wanted.keys()].filter((name) => !checkpoint.tensors.has(name));
  const extra = [...checkpoint.tensors.keys()].filter((name) => !wanted.has(name));
  if (missing.length + extra.length > 0) {
    throw mismatch(
      "the training had other tensors",
      missing.length > 0 ? `${missing.slice(0, 3).join(", ")} in the file` : "nothing more",
      extra.length > 0 ? `also ${extra.slice(0, 3).join(", ")}` : `${missing.length} missing`,
    );
  }
  const tensors: Record<string, Tensor> = {};
  for (const [name, { dtype, shape }] of wanted) {
    tensors[name] = await checkpoint.read(name);
    const found = tensors[name];
    if (found.dtype === dtype && `${found.shape}` === `${shape}`) continue;
    throw mismatch(`"${name}" had another type`, `${dtype} [${shape}]`, `${found.dtype} [${found.shape}]`);
  }
  if (saved instanceof Uint8Array) await checkpoint.close();
  return { tensors, progress };
}

function readProgress(text: string, file: string): SavedProgress {
  try {
    const { step, batches, seed, optimizer } = JSON.parse(text) as SavedProgress;
    const counts = [step, batches].every((each) => Number.isSafeInteger(each) && each >= 0);
    if (counts && Number.isSafeInteger(seed) && typeof optimizer === "string")
      return { step, batches, seed, optimizer };
  } catch {
    // said below
  }
  throw new LoomweightError({
    code: "NOT_A_TRAINING",
    file,
    problem: "the file's note of where the training stood cannot be read",
    found: text.slice(0, 80),
  });
}

import { bytesSource, type Checkpoint, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import type { Training } from "@loomweight/graph/training";
import { LoomweightError, type Tensor } from "@loomweight/tensor";

/** What early stopping remembers: the best values so far, and how many evaluations were not better. */
export interface Evaluations {
  best:
    | { readonly step: number; readonly loss: number; readonly parameters: Readonly<Record<string, Tensor>> }
    | undefined;
  waited: number;
}

const prefix = "best/";
const key = "loomweight.evaluations";

/** A training whose saved state also holds what early stopping remembers. */
export function rememberingEvaluations(training: Training, evaluations: Evaluations): Training {
  const snapshot: Training["snapshot"] = async () => {
    const { tensors, metadata } = await training.snapshot();
    const { best, waited } = evaluations;
    if (best === undefined && waited === 0) return { tensors, metadata };
    for (const [name, tensor] of Object.entries(best?.parameters ?? {})) tensors.set(`${prefix}${name}`, tensor);
    const kept = { waited, ...(best === undefined ? {} : { step: best.step, loss: best.loss }) };
    return { tensors, metadata: { ...metadata, [key]: JSON.stringify(kept) } };
  };
  return {
    ...training,
    get step() {
      return training.step;
    },
    snapshot,
    async save() {
      const { tensors, metadata } = await snapshot();
      return writeSafetensors(tensors, { metadata });
    },
  };
}

/** Splits a saved state into the loop's own and what early stopping remembered. Throws `RESUME_MISMATCH`. */
export async function savedEvaluations(
  resume: Uint8Array | Checkpoint | undefined,
): Promise<{ readonly resume: Checkpoint | undefined; readonly evaluations: Evaluations }> {
  const nothing: Evaluations = { best: undefined, waited: 0 };
  if (resume === undefined) return { resume, evaluations: nothing };
  const saved = resume instanceof Uint8Array ? await openSafetensors(bytesSource(resume, "training")) : resume;
  const names = [...saved.tensors.keys()].filter((name) => name.startsWith(prefix));
  const text = saved.metadata[key];
  if (text === undefined) return { resume: saved, evaluations: nothing };
  const { waited, step, loss } = readNumbers(text, saved.location);
  const parameters: Record<string, Tensor> = {};
  for (const name of names) parameters[name.slice(prefix.length)] = await saved.read(name);
  const tensors = new Map([...saved.tensors].filter(([name]) => !name.startsWith(prefix)));
  const best = step === undefined || loss === undefined ? undefined : { step, loss, parameters };
  return { resume: { ...saved, tensors }, evaluations: { best, waited } };
}

function readNumbers(text: string, file: string): { waited: number; step?: number; loss?: number } {
  try {
    const { waited, step, loss } = JSON.parse(text) as Record<string, unknown>;
    const optional = (value: unknown) => value === undefined || typeof value === "number";
    if (Number.isSafeInteger(waited) && optional(step) && optional(loss)) {
      return { waited: waited as number, step: step as number | undefined, loss: loss as number | undefined };
    }
  } catch {
    // said below
  }
  throw new LoomweightError({
    code: "RESUME_MISMATCH",
    file,
    problem: "what early stopping remembered cannot be read",
    found: text.slice(0, 100),
  });
}

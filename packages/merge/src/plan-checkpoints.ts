import type { Checkpoint } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "./define.ts";
import type { MergeTensorOptions } from "./merge-tensor.ts";
import { mergedCheckpoint } from "./merged-checkpoint.ts";
import type { MergePlan } from "./plan/plan.ts";
import { alignEmbeddings } from "./tokenizer/aligned-embedding.ts";

/**
 * What a plan reads: one checkpoint per model, in its order. Documents of the recipe are computed when they are read,
 * and embeddings come with the rows of the output's vocabulary. Both follow from the plan alone, so that a worker can
 * make them again from the checkpoints it opened.
 * @param opened the checkpoints of all models that are no documents, by the key of their reference
 * @param methods those that the documents use, by name
 */
export function planCheckpoints(
  plan: MergePlan,
  opened: ReadonlyMap<string, Checkpoint>,
  methods: readonly AnyMergeMethod[],
  options: MergeTensorOptions = {},
): readonly Checkpoint[] {
  const made = new Map<MergePlan, Checkpoint>();
  const documentOf = (document: MergePlan, name: string): Checkpoint => {
    const known = made.get(document);
    if (known !== undefined) return known;
    const method = methods.find((each) => each.name === document.method);
    if (method === undefined) throw missing(`the method ${document.method} of document "${name}" was not given`);
    const checkpoint = mergedCheckpoint(document, method, checkpointsOf(document), name, options);
    made.set(document, checkpoint);
    return checkpoint;
  };
  const checkpointsOf = (each: MergePlan): readonly Checkpoint[] => {
    const stored = each.models.map((key, index) => {
      const document = each.documents?.[index];
      const checkpoint = document === undefined ? opened.get(key) : documentOf(document, key);
      if (checkpoint === undefined) throw missing(`model ${key} was not opened`);
      return checkpoint;
    });
    const { vocabulary } = each;
    if (vocabulary === undefined) return stored;
    return stored.map((checkpoint, input) => {
      const rebuilt = Object.entries(vocabulary.embeddings[input]).map(
        ([name, sources]) => [name, sources.map((tensor, model) => ({ checkpoint: stored[model], tensor }))] as const,
      );
      return alignEmbeddings(checkpoint, input, vocabulary, new Map(rebuilt));
    });
  };
  return checkpointsOf(plan);
}

function missing(problem: string): LoomweightError {
  return new LoomweightError({ code: "MISSING_MODEL", problem });
}

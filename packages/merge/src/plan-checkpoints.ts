import type { Checkpoint } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "./define.ts";
import type { MergeTensorOptions } from "./merge-tensor.ts";
import { mergedCheckpoint } from "./merged-checkpoint.ts";
import type { ModelAdapter } from "./model-adapter.ts";
import type { MergePlan } from "./plan/plan.ts";
import { alignEmbeddings } from "./tokenizer/aligned-embedding.ts";

/**
 * What a plan reads: one checkpoint per model, in its order. Documents of the recipe are computed when they are read,
 * and embeddings come with the rows of the output's vocabulary. Both follow from the plan alone, so that a worker can
 * make them again from the checkpoints it opened.
 * @param opened the checkpoints of all models that are no documents, by the key of their reference
 * @param methods those that the documents use, by name
 * @param adapters those that are folded into documents, by the path that the recipe gives
 */
export function planCheckpoints(
  plan: MergePlan,
  opened: ReadonlyMap<string, Checkpoint>,
  methods: readonly AnyMergeMethod[],
  options: MergeTensorOptions = {},
  adapters: ReadonlyMap<string, Pick<ModelAdapter, "fold">> = new Map(),
): readonly Checkpoint[] {
  const made = new Map<MergePlan, Checkpoint>();
  const folded = new Map<MergePlan, Map<string, Checkpoint>>();
  const documentOf = (document: MergePlan, name: string, adapter: string | undefined): Checkpoint => {
    const merged = made.get(document) ?? mergedDocument(document, name);
    made.set(document, merged);
    if (adapter === undefined) return merged;
    const variants = folded.get(document) ?? new Map<string, Checkpoint>();
    folded.set(document, variants);
    const known = variants.get(adapter);
    if (known !== undefined) return known;
    const open = adapters.get(adapter);
    if (open === undefined) throw missing(`the adapter ${adapter} was not opened`);
    const checkpoint = open.fold({ checkpoint: merged, config: document.config });
    variants.set(adapter, checkpoint);
    return checkpoint;
  };
  const mergedDocument = (document: MergePlan, name: string): Checkpoint => {
    const method = methods.find((each) => each.name === document.method);
    if (method === undefined) throw missing(`the method ${document.method} of document "${name}" was not given`);
    return mergedCheckpoint(document, method, checkpointsOf(document), name, options);
  };
  const checkpointsOf = (each: MergePlan): readonly Checkpoint[] => {
    const stored = each.models.map((key, index) => {
      const document = each.documents?.[index];
      const adapter = each.adapters?.[index];
      const checkpoint =
        document === undefined ? opened.get(key) : documentOf(document, documentName(key, adapter), adapter);
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

/** The name of the document in a reference to its result. */
export function documentName(key: string, adapter: string | undefined): string {
  return adapter === undefined ? key : key.slice(0, -(adapter.length + 1));
}

function missing(problem: string): LoomweightError {
  return new LoomweightError({ code: "MISSING_MODEL", problem });
}

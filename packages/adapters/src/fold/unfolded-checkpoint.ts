import type { Checkpoint } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { Adapter } from "../peft/adapter.ts";
import { type FoldedCheckpointOptions, foldedCheckpoint } from "./folded-checkpoint.ts";
import { type FoldBase, type FoldPlan, planFold } from "./plan.ts";
import { needsBase } from "./unfold.ts";

/**
 * The base of a folded model as a checkpoint, by arithmetic: the adapters are taken back, last first, when tensors are
 * read. `adapters` are those that were folded, in that order. The result is not the base's bytes: folding rounded once
 * and unfolding rounds again, so an entry w of the base comes back within half a unit in the last place of its folded
 * value plus half of its own (additive methods; where a method scales, the first half is divided by the scale).
 *
 * Throws `UNSUPPORTED_ADAPTER` for what the folded weights have forgotten: tensors that were replaced whole
 * (modules_to_save, tokens, stored biases), and methods whose change depends on the base (DoRA, PiSSA, …).
 */
export function unfoldAdapters(
  folded: FoldBase,
  adapters: readonly Adapter[],
  options: Omit<FoldedCheckpointOptions, "undo"> = {},
): { readonly checkpoint: Checkpoint; readonly plan: FoldPlan } {
  const plan = planFold(folded, adapters);
  for (const { name, source, operations } of plan.tensors.values()) {
    if (source.checkpoint !== plan.base) throw replaced(name, source.info.file);
    for (const { kind, step } of operations) {
      const { method } = step;
      const undone =
        kind === "bias"
          ? method.bias?.original !== undefined
          : method.additive === true || method.original !== undefined;
      if (!undone) throw needsBase(method, "the folded weight does not determine the one before");
    }
  }
  return { checkpoint: foldedCheckpoint(plan, { ...options, undo: true }), plan };
}

function replaced(tensor: string, file: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: "the adapter replaced this tensor whole: arithmetic cannot say what was there before",
    file,
    tensor,
    fix: "Give the base model.",
  });
}

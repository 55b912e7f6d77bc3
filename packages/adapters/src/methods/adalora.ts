import { add, mul, type Value } from "@loomweight/graph";
import { finite, integer, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { addLowRank, lowRankForward } from "../maths/low-rank.ts";
import { dropout, note, option } from "../peft/field.ts";
import { loraFields } from "../peft/fields.ts";

const options = {
  rank: integer(12, "directions at the start of training; pruning leaves fewer in the file", { min: 1 }),
  alpha: finite(8, "the update is scaled by alpha / (rank + 1e-5); 0 and less: by rank / (rank + 1e-5)"),
};
type AdaLoraOptions = OptionValues<typeof options>;

/** PEFT divides by the rank at the start plus this, whatever pruning has left. */
const divisorOffset = 1e-5;

function scaleOf({ rank, alpha }: AdaLoraOptions): number {
  return (alpha > 0 ? alpha : rank) / (rank + divisorOffset);
}

/** A's rows scaled by E. */
function scaledRows({ A, E }: { readonly A: Value; readonly E: Value }): Value {
  return mul(A, E);
}

/**
 * AdaLoRA: W′ = W + s · B (A ∘ E) for a weight W [out, in], A [kept, in], E [kept, 1], B [out, kept],
 * s = alpha / (rank + 1e-5). Training prunes directions by importance; a layer may keep none.
 * Source: Zhang et al. 2023, arXiv:2303.10512. As PEFT computes it: the divisor stays the rank at the start.
 * Differs: the orthogonality penalty and the pruning schedule belong to training and are not part of this definition.
 */
export const adalora = defineAdapter({
  name: "adalora",
  source: "arXiv:2303.10512",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "convolution"],
  options,
  params: (_layer, { rank }, stored) => {
    const kept = stored?.get("A")?.[0] ?? rank;
    return { A: [kept, "in"], B: ["out", kept], E: [kept, 1] };
  },
  init: (layer, { rank }, { random }) => ({
    A: random.normal("A", [rank, layer.in], 0.02),
    B: random.normal("B", [layer.out, rank], 0.02),
    E: zeros([rank, 1]), // zero, so training starts at the base model
  }),
  apply: (layer, { A, B, E }, x, given) => {
    const kept = A.shape[0] as number;
    const update = lowRankForward(layer, { A: scaledRows({ A, E }), B }, x, { rank: kept });
    return add(layer.forward(x), mul(update, scaleOf(given)));
  },
  weight: (layer, { A, B, E }, given) =>
    A.shape[0] === 0 ? layer.weight : addLowRank(layer.weight, { A: scaledRows({ A, E }), B }, scaleOf(given)),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["ADALORA"],
    fields: {
      ...loraFields,
      beta1: note(0.85, { float: true }),
      beta2: note(0.85, { float: true }),
      deltaT: note(1),
      init_r: option(12),
      lora_dropout: dropout,
      orth_reg_weight: note(0.5, { float: true }),
      rank_pattern: note(null), // which directions were kept; the tensors of the file say how many
      target_r: note(8),
      tfinal: note(0),
      tinit: note(0),
      total_step: note(null),
    },
    optionFields: { rank: "init_r", alpha: "lora_alpha" },
    suffixes: { lora_A: { param: "A" }, lora_B: { param: "B" }, lora_E: { param: "E" } },
    biasOfAdapted: ["lora_only"],
  },
});

/** Options of `adalora`, checked. */
export type { AdaLoraOptions };

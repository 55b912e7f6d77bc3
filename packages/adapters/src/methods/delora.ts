import { add, div, matMul, max, mul, reduceSum, reshape, slice, sqrt, transpose, type Value } from "@loomweight/graph";
import { finite, fromData, integer, LoomweightError, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type Params } from "../define.ts";
import { kaimingUniform } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  rank: integer(8, "rank of the update", { min: 1 }),
  bound: finite(15, "where the trained length of the update starts"),
};
type DeloraOptions = OptionValues<typeof options>;

/** Norms below this count as this. */
const smallestNorm = 1e-4;

/**
 * DeLoRA: W′ = W + length / rank · Σᵢ bᵢ aᵢᵀ / (‖bᵢ‖ ‖aᵢ‖) ∘ norms for A [rank, in] (rows aᵢ), B [out, rank] (columns
 * bᵢ), a trained length [1] and the norms [in] of the columns of W, fixed when the adapter is made: direction and
 * strength of the update are apart, and its size is bounded.
 * Source: Bini et al. 2025, arXiv:2503.18225. As PEFT computes it.
 */
export const delora = defineAdapter({
  name: "delora",
  source: "arXiv:2503.18225",
  scope: "layer",
  kinds: ["linear"],
  options,
  // B is not sliced: its columns' norms need all of them.
  params: (layer, { rank }) => ({ A: [rank, "in"], B: [layer.out, rank], length: [1], norms: ["in"] }),
  frozen: ["norms"],
  init: (layer, { rank, bound }, { random, weight }) => ({
    A: kaimingUniform(random, "A", [rank, layer.in], layer.in),
    B: zeros([layer.out, rank]), // zero, so training starts at the base model
    length: fromData("float32", Float32Array.of(bound), [1]),
    norms: columnNorms(layer, weight),
  }),
  apply: (layer, params, x, given) => {
    const { A, norms } = params;
    const hidden = matMul(mul(x, norms), transpose(A, [1, 0]));
    return add(layer.forward(x), matMul(mul(hidden, strengths(params, given)), transpose(params.B, [1, 0])));
  },
  weight: (layer, params, given) => {
    const rows = scaledRows(layer, params, given);
    return add(layer.weight, mul(matMul(rows, params.A), reshape(params.norms, [1, layer.in])));
  },
  additive: true,
  tiling: () => ({ out: 1 }),
  files: {
    peftTypes: ["DELORA"],
    fields: {
      delora_lambda: option(15),
      init_weights: note(true),
      lambda_pattern: option({}),
      module_dropout: dropout,
      r: option(8),
      rank_pattern: option({}),
    },
    optionFields: { rank: "r", bound: "delora_lambda" },
    patterns: { rank_pattern: "rank", lambda_pattern: "bound" },
    suffixes: {
      delora_A: { param: "A" },
      delora_B: { param: "B" },
      delora_lambda: { param: "length" },
      delora_w_norm: { param: "norms" },
    },
    biasOfAdapted: ["delora_only"],
  },
});

/** Options of `delora`, checked. */
export type { DeloraOptions };

/** length / (rank ‖aᵢ‖ ‖bᵢ‖), [rank]. */
function strengths({ A, B, length }: Params<"A" | "B" | "length" | "norms">, { rank }: DeloraOptions): Value {
  const norm = (x: Value, axis: number) => max(sqrt(reduceSum(mul(x, x), [axis], false)), smallestNorm);
  return div(div(length, rank), mul(norm(A, 1), norm(B, 0)));
}

function scaledRows(layer: LayerValues, params: Params<"A" | "B" | "length" | "norms">, given: DeloraOptions): Value {
  const begin = layer.offset?.out ?? 0;
  const rows = slice(params.B, { starts: [begin], ends: [begin + layer.out], axes: [0] });
  return mul(rows, reshape(strengths(params, given), [1, given.rank]));
}

function columnNorms(layer: { readonly in: number; readonly out: number }, weight: Tensor | undefined): Tensor {
  if (weight === undefined) {
    throw new LoomweightError({
      code: "MISSING_OPTION",
      problem: "delora starts from the norms of the weight's columns, which was not given",
      option: "init weight",
      expected: `a weight [${layer.out}, ${layer.in}]`,
    });
  }
  return sqrt(reduceSum(mul(weight, weight), [0], false)) as Tensor;
}

import { add, matMul, mul, neg, relu, sub, transpose, type Value } from "@loomweight/graph";
import { boolean, choice, finite, integer, LoomweightError, type OptionValues, type Tensor } from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type ParamShape, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { householderQ } from "../maths/signed-qr.ts";
import { forwardPlus } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  rank: integer(8, "directions that are replaced; at most the layer's outputs", { min: 1 }),
  decomposition: choice(
    ["relu", "qr"],
    "relu",
    "how directions become a projection: as they are against their positive part, or made orthonormal",
  ),
  alpha: finite(0, "what takes their place is scaled by alpha / rank; 0: not scaled"),
  removeOnly: boolean(false, "directions are removed and nothing takes their place (PaRa)"),
};
type DeftOptions = OptionValues<typeof options>;
type DeftParams = "directions" | "replacement";

/**
 * DEFT: part of what a layer puts out along a few directions is removed and replaced, W′ = W + Q (a R − rightᵀ W) with
 * directions P [out, rank], replacement R [rank, in], a = alpha / rank or 1. relu: Q = P, right = relu(P); qr: Q = right
 * = the orthonormal basis of P with LAPACK's signs. `removeOnly`: W′ = W − Q rightᵀ W.
 * Source: Kumar et al. 2025, arXiv:2509.22793; PaRa: Chen et al. 2024, arXiv:2406.05641. As PEFT computes it.
 */
export const deft = defineAdapter({
  name: "deft",
  source: "arXiv:2509.22793",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, given): { readonly [K in DeftParams]?: ParamShape } => {
    const rank = rankOf(layer, given);
    return { directions: ["out", rank], ...(given.removeOnly ? {} : { replacement: [rank, "in"] }) };
  },
  fresh: ({ removeOnly }) => (removeOnly ? "none" : "base"), // what is only taken away is missing at once
  init: (layer, given, { random, weight }): Record<string, Tensor> => {
    if (given.removeOnly) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        problem: "removing directions cannot start as the identity",
        option: "deft.removeOnly",
      });
    }
    if (weight === undefined) {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        problem: "deft starts from the layer's weight, which was not given",
        option: "init weight",
        expected: `a weight [${layer.out}, ${layer.in}]`,
      });
    }
    const directions = random.normal("directions", [layer.out, rankOf(layer, given)], 0.02);
    const like: Tensor = weight.dtype === "float64" ? toWide(directions) : directions;
    // What is put in is what is taken out.
    const removed = matMul(transpose(projection(like, given).right, [1, 0]), weight);
    return { directions, replacement: mul(removed, 1 / scaleOf(layer, given)) as Tensor };
  },
  apply: (layer, params, x, given) => forwardPlus(layer, update(layer, params, given), x),
  weight: (layer, params, given) => add(layer.weight, update(layer, params, given)),
  // Sums run over all outputs, so only inputs can be cut.
  tiling: () => ({ in: 1 }),
  files: {
    peftTypes: ["DEFT"],
    fields: {
      alpha: option(null),
      decomposition_method: option("relu"),
      deft_dropout: dropout,
      fan_in_fan_out: option(false),
      init_scale: note(1, { float: true }),
      init_weights: note(true),
      para: option(false),
      r: option(8),
    },
    optionFields: { rank: "r", decomposition: "decomposition_method", removeOnly: "para" },
    readOptions: ({ alpha }) => ({ alpha: alpha ?? 0 }),
    writeOptions: ({ alpha }) => ({ alpha: alpha === 0 ? null : alpha }),
    suffixes: { deft_P: { param: "directions" }, deft_R: { param: "replacement" } },
    biasOfAdapted: ["deft_only"],
  },
});

/** Options of `deft`, checked. */
export type { DeftOptions };

function rankOf(layer: LayerShape, { rank }: DeftOptions): number {
  return Math.min(rank, layer.out);
}

function scaleOf(layer: LayerShape, given: DeftOptions): number {
  return given.alpha === 0 ? 1 : given.alpha / rankOf(layer, given);
}

function projection(directions: Value, { decomposition }: DeftOptions): { left: Value; right: Value } {
  if (decomposition === "relu") return { left: directions, right: relu(directions) };
  const basis = householderQ(directions);
  return { left: basis, right: basis };
}

function update(layer: LayerValues, { directions, replacement }: Params<DeftParams>, given: DeftOptions): Value {
  const { left, right } = projection(directions, given);
  const removed = matMul(transpose(right, [1, 0]), layer.weight);
  return matMul(left, given.removeOnly ? neg(removed) : sub(mul(replacement, scaleOf(layer, given)), removed));
}

function toWide(x: Tensor<"float32">): Tensor<"float64"> {
  return { ...x, dtype: "float64", data: Float64Array.from(x.data) };
}

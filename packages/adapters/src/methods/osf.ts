import { add, matMul, mul, sub, type Value } from "@loomweight/graph";
import { svd } from "@loomweight/linalg";
import { LoomweightError, type OptionValues, positive, type Tensor } from "@loomweight/tensor";
import { defineAdapter, type ParamShape, type Params, type StoredShapes } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { forwardPlus } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";

const options = {
  kept: positive(0.5, "singular directions that stay as they are: a share below 1 of the smaller side, or a number"),
};
type OsfOptions = OptionValues<typeof options>;
type OsfParams = "left" | "values" | "right" | "low";

/**
 * OSF: the large singular directions of a weight stay, the small ones are trained, W′ = W − low + left diag(values)
 * right with low = Σ σᵢ uᵢ vᵢᵀ over all but the `kept` largest singular values of the base weight, left [out, m], values
 * [m], right [m, in], m = min(out, in) − kept.
 * Source: Nayak et al. 2025, arXiv:2504.07097. As PEFT computes it: the decomposition is repeated when a file is read.
 * Differs: gradients are not projected away from the kept directions here.
 */
export const osf = defineAdapter({
  name: "osf",
  source: "arXiv:2504.07097",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, given, stored): { readonly [K in OsfParams]?: ParamShape } => {
    const count = trainedCount(layer, given, stored);
    return { left: ["out", count], values: [count], right: [count, "in"] };
  },
  init: (layer, given, { weight }) => {
    if (weight === undefined) {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        problem: "osf starts from the layer's weight, which was not given",
        option: "init weight",
        expected: `a weight [${layer.out}, ${layer.in}]`,
      });
    }
    const { left, values, right } = smallest(weight, trainedCount(layer, given, undefined));
    return { left, values, right };
  },
  prepared: (): Partial<Record<OsfParams, ParamShape>> => ({ low: ["out", "in"] }),
  prepare: async (_layer, { values }, _given, { weight }) => {
    const low = smallest(await weight(), (values as Tensor).shape[0]);
    return { low: product(low) as Tensor };
  },
  apply: (layer, params, x) => forwardPlus(layer, sub(product(params), params.low), x),
  weight: (layer, params) => add(layer.weight, sub(product(params), params.low)),
  tiling: () => ({ out: 1 }),
  files: {
    peftTypes: ["OSF"],
    fields: {
      effective_rank: option(null),
      init_weights: note(true),
      rank_pattern: note(null), // the file's shapes say what it came to
      target_svd_config: note(null),
    },
    optionFields: {},
    readOptions: ({ effective_rank: kept }) => ({ kept: kept ?? 0.5 }),
    writeOptions: ({ kept }) => ({ effective_rank: kept }),
    suffixes: {
      "osf_svd_params.U_low": { param: "left" },
      "osf_svd_params.S_low": { param: "values" },
      "osf_svd_params.V_low": { param: "right" },
    },
    biasOfAdapted: [],
  },
});

/** Options of `osf`, checked. */
export type { OsfOptions };

/** Singular directions that are trained: what the file holds, or what the option leaves. */
function trainedCount(layer: LayerShape, { kept }: OsfOptions, stored: StoredShapes | undefined): number {
  const all = Math.min(layer.storedShape[0], layer.storedShape[1]);
  const held = stored?.get("values");
  const count = held?.length === 1 ? held[0] : all - Math.min(all, Math.trunc(kept < 1 ? all * kept : kept));
  if (count >= 1 && count <= all) return count;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "no singular direction is left to train",
    option: "osf.kept",
    expected: `less than ${all} for a layer [${layer.out}, ${layer.in}]`,
    found: String(kept),
  });
}

function product({ left, values, right }: Pick<Params<OsfParams>, "left" | "values" | "right">): Value {
  return matMul(mul(left, values), right);
}

/** The `count` smallest singular values of a weight with their vectors. */
function smallest(weight: Tensor, count: number): { left: Tensor; values: Tensor; right: Tensor } {
  const { u, singularValues, vt } = svd(weight);
  const first = singularValues.shape[0] - count;
  const part = (x: Tensor, axis: number): Tensor => ({
    ...x,
    shape: x.shape.map((size, each) => (each === axis ? count : size)),
    offset: x.offset + first * x.stride[axis],
  });
  return { left: part(u, 1), values: part(singularValues, 0), right: part(vt, 0) };
}

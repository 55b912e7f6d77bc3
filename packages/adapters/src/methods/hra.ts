import { concat, div, matMul, mul, reduceSum, slice, sqrt, sub, transpose, type Value } from "@loomweight/graph";
import {
  boolean,
  fromData,
  integer,
  invalidOption,
  LoomweightError,
  type OptionValues,
  type Tensor,
} from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { forwardWith, kaimingUniform } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";

const options = {
  rank: integer(8, "number of reflections", { min: 1 }),
  orthogonal: boolean(false, "directions are made orthogonal first (Gram-Schmidt)"),
};
type HraOptions = OptionValues<typeof options>;

/**
 * HRA: the inputs of a layer are reflected at hyperplanes before its weight sees them, W′ = W · Π (I − 2 û ûᵀ) over the
 * normalised columns û of directions [in, rank], first to last; `orthogonal`: W (I − 2 U Uᵀ) with the columns made
 * orthonormal. No scaling. Convolutions are reflected over channels · kernel.
 * Source: Yuan et al. 2024, arXiv:2405.17484. As PEFT computes it.
 * Differs: an odd rank, which cannot start as the identity, is refused for fresh adapters (PEFT warns and starts
 * elsewhere), and so is `orthogonal`, whose U Uᵀ never vanishes.
 */
export const hra = defineAdapter({
  name: "hra",
  source: "arXiv:2405.17484",
  scope: "layer",
  kinds: ["linear", "convolution"],
  options,
  params: (_layer, { rank }) => ({ directions: ["in", rank] }),
  fresh: ({ orthogonal }) => (orthogonal ? "none" : "base"), // orthogonal reflections never cancel
  init: (layer, { rank, orthogonal }, { random }) => {
    if (rank % 2 !== 0)
      throw invalidOption({ option: "hra.rank" }, rank, "an even number: pairs of reflections cancel");
    if (orthogonal) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        problem: "orthogonal reflections cannot start as the identity",
        option: "hra.orthogonal",
        fix: "Train without it, or start from an adapter that exists.",
      });
    }
    return { directions: pairs(kaimingUniform(random, "directions", [layer.in, rank / 2], rank / 2)) };
  },
  apply: (layer, { directions }, x, { rank, orthogonal }) => {
    if (layer.kind !== "linear" || orthogonal)
      return forwardWith(layer, reflected(layer.weight, directions, { rank, orthogonal }), x);
    // x is reflected last to first: (W H₁ … Hᵣ) x = W (H₁ (… (Hᵣ x))).
    return layer.forward(unitColumns(directions, rank).reduceRight((y, u) => reflect(y, u), x));
  },
  weight: (layer, { directions }, given) => reflected(layer.weight, directions, given),
  original: (layer, { directions }, given) =>
    given.orthogonal
      ? reflected(layer.weight, directions, given)
      : unitColumns(directions, given.rank).reduceRight(reflect, layer.weight),
  tiling: () => ({ out: 1 }),
  files: {
    peftTypes: ["HRA"],
    fields: { apply_GS: option(false), init_weights: note(true), r: option(8) },
    optionFields: { rank: "r", orthogonal: "apply_GS" },
    suffixes: { hra_u: { param: "directions" } },
    biasOfAdapted: ["hra_only"],
  },
});

/** Options of `hra`, checked. */
export type { HraOptions };

/** Every column twice, side by side: the same reflection twice is none. */
function pairs(half: Tensor<"float32">): Tensor<"float32"> {
  const [rows, columns] = half.shape;
  const twice = new Float32Array(rows * columns * 2);
  for (let i = 0; i < twice.length; i++) twice[i] = half.data[i >> 1];
  return fromData("float32", twice, [rows, columns * 2]);
}

/** The columns of directions [in, rank], each [in, 1] of length 1. */
function unitColumns(directions: Value, rank: number): Value[] {
  return Array.from({ length: rank }, (_, i) => unit(slice(directions, { starts: [i], ends: [i + 1], axes: [1] })));
}

function unit(column: Value): Value {
  return div(column, sqrt(reduceSum(mul(column, column), [0], true)));
}

/** rows − 2 (rows û) ûᵀ. */
function reflect(rows: Value, u: Value): Value {
  return sub(rows, matMul(matMul(rows, mul(u, 2)), transpose(u, [1, 0])));
}

function reflected(weight: Value, directions: Value, { rank, orthogonal }: HraOptions): Value {
  if (!orthogonal) return unitColumns(directions, rank).reduce(reflect, weight);
  const basis: Value[] = [];
  for (let i = 0; i < rank; i++) {
    let column = slice(directions, { starts: [i], ends: [i + 1], axes: [1] });
    for (const u of basis) column = sub(column, mul(u, matMul(transpose(u, [1, 0]), column)));
    basis.push(unit(column));
  }
  return reflect(weight, concat(basis, 1));
}

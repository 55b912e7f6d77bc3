import { add, mul, reshape, transpose, type Value } from "@loomweight/graph";
import { finite, full, integer, LoomweightError, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { addLowRank, lowRankForward } from "../maths/low-rank.ts";
import { largestLayer, leading } from "../maths/projections.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  rank: integer(32, "rank of one pair of bases", { min: 1 }),
  alpha: finite(640, "the update is scaled by alpha / rank"),
};
type RandLoraOptions = OptionValues<typeof options>;

/** The smaller side of a layer, the larger one, and how many bases of `rank` make up the smaller. */
function sides(layer: LayerShape, { rank }: RandLoraOptions) {
  const smaller = layer.in > layer.out ? ("out" as const) : ("in" as const);
  const larger = smaller === "in" ? ("out" as const) : ("in" as const);
  return { smaller, larger, bases: Math.ceil(layer[smaller] / rank) };
}

/**
 * RandLoRA: W′ = W + (alpha / rank) · P for a weight W [out, in] (Pᵀ where in > out), P = flat(B) · flat(λ ∘ A ∘ γ) of
 * full rank: B [larger, bases, rank] and A [rank, 1, smaller] are random, frozen and common to all layers; a layer trains
 * λ [rank, bases] and γ [bases, smaller]; bases = ⌈smaller / rank⌉. B is flattened over (base, rank), the other factor
 * over (rank, base), so the same place holds different pairs: that is what PEFT computes and files mean.
 * Source: Albert et al. 2025, arXiv:2502.00987.
 */
export const randlora = defineAdapter({
  name: "randlora",
  source: "arXiv:2502.00987",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  frozen: ["sharedA", "sharedB", "layerA", "layerB"],
  params: (layer, given, stored) => {
    const { smaller, bases } = sides(layer, given);
    const [layerA, layerB] = [stored?.get("layerA"), stored?.get("layerB")];
    return {
      lambda: [given.rank, bases],
      gamma: [bases, smaller],
      ...(layerA === undefined ? {} : { layerA }),
      ...(layerB === undefined ? {} : { layerB }),
    };
  },
  shared: (layers, { rank }, random) => {
    const { out, in: most } = largestLayer(layers);
    const [smaller, larger] = [Math.min(out, most), Math.max(out, most)];
    const deviationOne = Math.sqrt(3);
    return {
      randlora_A: random.uniform("randlora_A", [rank, 1, smaller], -deviationOne, deviationOne),
      randlora_B: random.uniform("randlora_B", [larger, Math.ceil(smaller / rank), rank], -deviationOne, deviationOne),
    };
  },
  sharedParams: (_layer, { rank }) => ({
    sharedA: { key: "randlora_A", shape: [rank, 1, null], optional: true },
    sharedB: { key: "randlora_B", shape: [null, null, rank], optional: true },
  }),
  prepared: (layer, given) => {
    const { smaller, larger, bases } = sides(layer, given);
    return { A: [given.rank, 1, smaller], B: [larger, bases, given.rank] };
  },
  prepare: (layer, { layerA, layerB, sharedA, sharedB }, given, { path }) => {
    const { smaller, larger, bases } = sides(layer, given);
    const [A, B] = [layerA ?? sharedA, layerB ?? sharedB];
    if (A === undefined || B === undefined) {
      throw new LoomweightError({
        code: "UNSUPPORTED_ADAPTER",
        problem: `the random bases of "${path}" are not in the file; the numbers PEFT draws depend on the machine`,
        option: "save_projection",
        fix: "Save the adapter again with save_projection=True.",
      });
    }
    return {
      A: leading("randlora_A", A, 2, layer[smaller]),
      B: leading("randlora_B", leading("randlora_B", B, 0, layer[larger]), 1, bases),
    };
  },
  init: (layer, given) => {
    const { smaller, bases } = sides(layer, given);
    const size = Math.max(bases, layer[smaller]);
    return {
      lambda: zeros([given.rank, bases]), // zero, so training starts at the base model
      gamma: full([bases, layer[smaller]], 1 / size),
    };
  },
  apply: (layer, params, x, given) => {
    const { bases } = sides(layer, given);
    const update = lowRankForward(layer, factors(layer, params, given, bases), x, { rank: bases * given.rank });
    return add(layer.forward(x), mul(update, given.alpha / given.rank));
  },
  weight: (layer, params, given) => {
    const bases = (params.lambda.shape as number[])[1];
    return addLowRank(layer.weight, factors(layer, params, given, bases), given.alpha / given.rank);
  },
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["RANDLORA"],
    fields: {
      fan_in_fan_out: option(false),
      init_weights: note(true),
      projection_prng_key: note(0),
      r: option(32),
      randlora_alpha: option(640),
      randlora_dropout: dropout,
      save_projection: note(true),
      sparse: note(false), // how the bases were drawn; the file holds them
      very_sparse: note(false),
    },
    optionFields: { rank: "r", alpha: "randlora_alpha" },
    suffixes: {
      randlora_lambda: { param: "lambda" },
      randlora_gamma: { param: "gamma" },
      randlora_A: { param: "layerA" },
      randlora_B: { param: "layerB" },
    },
    shared: ["randlora_A", "randlora_B"],
    biasOfAdapted: ["randlora_only"],
  },
});

/** B [out, n] and A [n, in] of the update, n = bases · rank. */
function factors(
  layer: LayerShape,
  { A, B, gamma, lambda }: Readonly<Record<"A" | "B" | "gamma" | "lambda", Value>>,
  { rank }: RandLoraOptions,
  bases: number,
): { A: Value; B: Value } {
  const count = bases * rank;
  const scaled = mul(mul(A, reshape(lambda, [rank, bases, 1])), reshape(gamma, [1, bases, -1]));
  const [small, large] = [reshape(scaled, [count, -1]), reshape(B, [-1, count])];
  return layer.storedShape[layer.kind === "linear" ? 1 : 0] > layer.storedShape[layer.kind === "linear" ? 0 : 1]
    ? { A: transpose(large, [1, 0]), B: transpose(small, [1, 0]) }
    : { A: small, B: large };
}

/** Options of `randlora`, checked. */
export type { RandLoraOptions };

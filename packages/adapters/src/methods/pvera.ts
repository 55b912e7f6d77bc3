import { add, slice, type Value } from "@loomweight/graph";
import { finite, full, integer, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { addLowRank, lowRankForward } from "../maths/low-rank.ts";
import { drawProjections, largestLayer, leading, scaledFactors } from "../maths/projections.ts";
import { dropout, note, option, unsupported } from "../peft/field.ts";

const options = {
  rank: integer(256, "rank of the projections that all layers share", { min: 1 }),
  initial: finite(0.1, "value at which the trained scale of each direction starts"),
  seed: integer(0, "seed of the projections, where a file does not hold them"),
};

/**
 * PVeRA: VeRA with rank scales and projection rows for a mean and a log-variance, [2 · rank] of each; the noise is for
 * training. Folded, the first halves count: W′ = W + diag(outputScale) B diag(rankScale[:rank]) A[:rank] for a weight W [out, in].
 * A [2 · rank, largest in] and B [largest out, rank] are random, frozen and common to all layers. No scaling by alpha.
 * Source: Fillioux et al. 2025, arXiv:2512.07703. As PEFT computes it without sampling.
 */
export const pvera = defineAdapter({
  name: "pvera",
  source: "arXiv:2512.07703",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  frozen: ["sharedA", "sharedB"],
  params: (_layer, { rank }) => ({ outputScale: ["out"], rankScale: [2 * rank] }),
  shared: (layers, { rank }, random) => {
    const most = largestLayer(layers);
    const uniform = (name: string, shape: [number, number], fanIn: number) =>
      random.uniform(name, shape, -Math.sqrt(6 / fanIn), Math.sqrt(6 / fanIn));
    return {
      pvera_A: uniform("pvera_A", [2 * rank, most.in], most.in),
      pvera_B: uniform("pvera_B", [most.out, rank], rank),
    };
  },
  sharedParams: (_layer, { rank }) => ({
    sharedA: { key: "pvera_A", shape: [2 * rank, null], optional: true },
    sharedB: { key: "pvera_B", shape: [null, rank], optional: true },
  }),
  prepared: (_layer, { rank }) => ({ A: [rank, "in"], B: ["out", rank] }),
  prepare: (layer, { sharedA, sharedB }, { rank, seed }, { layers }) => {
    const [A, B] =
      sharedA !== undefined && sharedB !== undefined
        ? [sharedA, sharedB]
        : drawProjections(seed, largestLayer(layers), 2 * rank, rank);
    return {
      A: leading("pvera_A", leading("pvera_A", A, 1, layer.in), 0, rank),
      B: leading("pvera_B", B, 0, layer.out),
    };
  },
  init: (layer, { rank, initial }) => ({
    outputScale: zeros([layer.out]), // zero, so training starts at the base model
    rankScale: full([2 * rank], initial),
  }),
  apply: (layer, params, x, { rank }) =>
    add(layer.forward(x), lowRankForward(layer, scaledFactors(meanOf(params, rank)), x, { rank })),
  weight: (layer, params, { rank }) => addLowRank(layer.weight, scaledFactors(meanOf(params, rank)), 1),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["PVERA"],
    fields: {
      d_initial: option(0.1, { float: true }),
      fan_in_fan_out: option(false),
      generator_seed: note(null),
      init_weights: note(true),
      projection_prng_key: option(0),
      r: option(256),
      sample_at_inference: unsupported(false, "sampling at inference"),
      save_projection: note(true),
      pvera_dropout: dropout,
    },
    optionFields: { rank: "r", initial: "d_initial", seed: "projection_prng_key" },
    suffixes: { pvera_lambda_b: { param: "outputScale" }, pvera_lambda_d: { param: "rankScale" } },
    shared: ["pvera_A", "pvera_B"],
    biasOfAdapted: ["pvera_only"],
  },
});

/** The mean's half of the rank scales. */
function meanOf<T extends { readonly rankScale: Value }>(params: T, rank: number): T {
  return { ...params, rankScale: slice(params.rankScale, { starts: [0], ends: [rank], axes: [0] }) };
}

/** Options of `pvera`, checked. */
export type PveraOptions = OptionValues<typeof options>;

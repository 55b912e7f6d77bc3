import { add, matMul, mul, reduceSum, reshape, transpose, type Value } from "@loomweight/graph";
import { svd } from "@loomweight/linalg";
import {
  cast,
  fromData,
  integer,
  LoomweightError,
  type OptionValues,
  positive,
  type Tensor,
  unitInterval,
} from "@loomweight/tensor";
import { defineAdapter, type LayerPlace } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { addLowRank, lowRankForward } from "../maths/low-rank.ts";
import { torchNormal } from "../maths/projections.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  rank: integer(2, "largest singular directions of the weight that are used", { min: 1 }),
  numbers: integer(64, "numbers that a group of layers trains", { min: 1 }),
  tying: unitInterval(0, "0: every layer has numbers of its own; 1: one set for the whole model"),
  seed: integer(42, "seed of the first layer's random matrices", { min: 0, max: 2 ** 31 - 1 }),
  bound: positive(0.02, "the trained numbers start uniform in ± bound"),
};
type TinyLoraOptions = OptionValues<typeof options>;

/**
 * TinyLoRA: W′ = W + B (Σᵢ vᵢ Pᵢ) A for a weight W [out, in]. A [rank, in] and B [out, rank] are the weight's largest
 * singular directions (√S Vᵀ and U √S), Pᵢ [rank, rank] random; all of them are frozen. Only v [numbers] is trained, one
 * for each group of neighbouring layers. A fresh adapter changes the layer a little.
 * Source: Morris et al. 2026, arXiv:2602.04118. As PEFT computes it, PyTorch's random numbers included.
 */
export const tinylora = defineAdapter({
  name: "tinylora",
  source: "arXiv:2602.04118",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "embedding"],
  options,
  frozen: ["A", "B", "P"],
  params: (layer, { numbers, rank }, stored) => {
    const r = Math.min(rank, layer.in, layer.out);
    const own = { A: [r, sideA(layer)], B: [sideB(layer), r] } as const;
    return stored === undefined || stored.has("P") ? { ...own, P: [numbers, r, r] } : own;
  },
  shared: (layers, { bound, numbers, tying }, random) => {
    const groups = groupsOf(layers.size, tying);
    return Object.fromEntries(
      Array.from({ length: groups }, (_, group) => {
        const key = `tinylora_v.${group}`;
        return [key, random.uniform(key, [numbers], -bound, bound)];
      }),
    );
  },
  sharedParams: (_layer, { numbers, tying }, place) => ({
    v: { key: `tinylora_v.${groupOf(place, tying)}`, shape: [numbers] },
  }),
  prepared: (layer, { numbers, rank }) => {
    const r = Math.min(rank, layer.in, layer.out);
    return { P: [numbers, r, r] };
  },
  prepare: (layer, { P }, { numbers, rank, seed }, place) => {
    if (P !== undefined) return {};
    const r = Math.min(rank, layer.in, layer.out);
    return { P: drawn(seed + indexOf(place), numbers, r) };
  },
  fresh: () => "near", // its numbers start small and random
  init: (layer, { numbers, rank, seed }, { weight }) => {
    if (weight === undefined) {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        problem: "tinylora starts from the layer's weight, which was not given",
        option: "init weight",
        expected: `a weight [${layer.out}, ${layer.in}]`,
      });
    }
    const r = Math.min(rank, layer.in, layer.out);
    const stored = layer.kind === "embedding" ? (transpose(weight, [1, 0]) as Tensor) : weight;
    const { u, singularValues, vt } = svd(stored, { rank: r });
    const roots = fromData("float64", Float64Array.from(singularValues.data as Float64Array, Math.sqrt), [r]);
    return {
      A: cast(mul(cast(vt, "float64"), reshape(roots, [r, 1])) as Tensor, "float32"),
      B: cast(mul(cast(u, "float64"), roots) as Tensor, "float32"),
      P: cast(drawn(seed, numbers, r), "float32"),
    };
  },
  apply: (layer, params, x) => {
    const { A, B } = factors(layer, params);
    return add(layer.forward(x), lowRankForward(layer, { A, B }, x, { rank: A.shape[0] as number }));
  },
  weight: (layer, params) => addLowRank(layer.weight, factors(layer, params), 1),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["TINYLORA"],
    fields: {
      fan_in_fan_out: option(false),
      init_v_bound: option(0.02, { float: true }),
      init_weights: note(true),
      projection_seed: option(42),
      r: option(2),
      save_projection: note(true),
      tinylora_dropout: dropout,
      u: option(64),
      weight_tying: option(0, { float: true }),
    },
    optionFields: {
      rank: "r",
      numbers: "u",
      tying: "weight_tying",
      seed: "projection_seed",
      bound: "init_v_bound",
    },
    suffixes: { tinylora_A: { param: "A" }, tinylora_B: { param: "B" }, tinylora_P: { param: "P" } },
    shared: ["tinylora_v.#"],
    biasOfAdapted: ["tinylora_only"],
  },
});

/** Which side of the layer the factors of the stored weight have: an embedding is stored [in, out]. */
const sideA = ({ kind }: LayerShape) => (kind === "embedding" ? ("out" as const) : ("in" as const));
const sideB = ({ kind }: LayerShape) => (kind === "embedding" ? ("in" as const) : ("out" as const));

/** B [out, rank] and (Σ v P) A [rank, in]. */
function factors(layer: LayerShape, { A, B, P, v }: Readonly<Record<"A" | "B" | "P" | "v", Value>>) {
  const mix = reduceSum(mul(P, reshape(v, [-1, 1, 1])), [0], false);
  const left = matMul(B, mix);
  return layer.kind === "embedding" ? { A: transpose(left, [1, 0]), B: transpose(A, [1, 0]) } : { A, B: left };
}

/** Pᵢ as PyTorch draws them. */
function drawn(seed: number, numbers: number, rank: number): Tensor<"float64"> {
  return torchNormal(seed, [numbers, rank, rank], 1 / Math.sqrt(rank));
}

function indexOf({ path, layersInOrder }: LayerPlace): number {
  return [...layersInOrder().keys()].indexOf(path);
}

/** Python rounds halves to even. */
function groupsOf(layers: number, tying: number): number {
  const wanted = layers * (1 - tying);
  const floor = Math.floor(wanted);
  const rest = wanted - floor;
  return Math.max(1, rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor);
}

/** Layer i of n belongs to group min(⌊i / max(1, ⌊n / groups⌋)⌋, groups − 1). */
function groupOf(place: LayerPlace, tying: number): number {
  const layers = place.layers.size;
  const groups = groupsOf(layers, tying);
  if (groups === 1) return 0;
  return Math.min(Math.floor(indexOf(place) / Math.max(1, Math.floor(layers / groups))), groups - 1);
}

/** Options of `tinylora`, checked. */
export type { TinyLoraOptions };

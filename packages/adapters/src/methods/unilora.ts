import { add, gather, mul, type Value } from "@loomweight/graph";
import { boolean, fromData, integer, type OptionValues, positive, type Tensor } from "@loomweight/tensor";
import { defineAdapter, type LayerPlace } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { addLowRank, lowRankForward } from "../maths/low-rank.ts";
import { dropout, note, option } from "../peft/field.ts";
import { chooseWithoutReplacement, numpyGenerator, shuffleInto } from "../random/numpy-random.ts";

const options = {
  rank: integer(4, "rank of the update", { min: 1 }),
  length: integer(256, "numbers that are trained, for all layers together", { min: 1 }),
  seed: integer(42, "seed of the assignment", { min: 0, max: 2 ** 32 - 1 }),
  bound: positive(0.02, "the trained numbers start uniform in ± bound"),
  saveAssignment: boolean(false, "the file holds which entry uses which number"),
};
type UniLoraOptions = OptionValues<typeof options>;

/**
 * Uni-LoRA: W′ = W + B A for a weight W [out, in]; every entry of every A [rank, in] and B [out, rank] is one of `length`
 * trained numbers, divided by the root of how often that number is used. Which one is drawn once for the whole model and
 * dealt out in the order of its modules, A before B. A file may hold nothing but the trained numbers.
 * Source: Li et al. 2025, arXiv:2506.00799. As PEFT computes it, numpy's random numbers included. A fresh adapter changes
 * the layer a little.
 */
export const unilora = defineAdapter({
  name: "unilora",
  source: "arXiv:2506.00799",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  frozen: ["scalesA", "scalesB"],
  params: (_layer, { rank, saveAssignment }) =>
    saveAssignment
      ? { indicesA: [rank, "in"], indicesB: ["out", rank], scalesA: [rank, "in"], scalesB: ["out", rank] }
      : {},
  shared: (_layers, { bound, length }, random) => ({
    unilora_theta_d: random.uniform("unilora_theta_d", [length], -bound, bound),
  }),
  sharedParams: (_layer, { length }) => ({ numbers: { key: "unilora_theta_d", shape: [length] } }),
  prepared: (_layer, { rank }) => ({
    indicesA: [rank, "in"],
    indicesB: ["out", rank],
    scalesA: [rank, "in"],
    scalesB: ["out", rank],
  }),
  prepare: (layer, _params, given, place) => {
    if (given.saveAssignment) return {};
    const { indices, scales } = assignment(given, place.layersInOrder());
    let start = startOf(place, given);
    const take = (values: Float64Array | BigInt64Array, shape: readonly number[]): Tensor => {
      const part = values.subarray(start, start + shape[0] * shape[1]);
      return part instanceof Float64Array ? fromData("float64", part, shape) : fromData("int64", part, shape);
    };
    const [a, b] = [
      [given.rank, layer.in],
      [layer.out, given.rank],
    ];
    const [indicesA, scalesA] = [take(indices, a), take(scales, a)];
    start += a[0] * a[1];
    return { indicesA, scalesA, indicesB: take(indices, b), scalesB: take(scales, b) };
  },
  fresh: () => "near", // its numbers start small and random
  init: (layer, given): Readonly<Record<string, Tensor>> => {
    if (!given.saveAssignment) return {};
    const { indices, scales } = assignment(given, new Map([["", layer]]));
    const split = given.rank * layer.in;
    const float = (values: Float64Array, shape: readonly number[]) =>
      fromData("float32", Float32Array.from(values), shape);
    return {
      indicesA: fromData("int64", indices.slice(0, split), [given.rank, layer.in]),
      indicesB: fromData("int64", indices.slice(split), [layer.out, given.rank]),
      scalesA: float(scales.subarray(0, split), [given.rank, layer.in]),
      scalesB: float(scales.subarray(split), [layer.out, given.rank]),
    };
  },
  apply: (layer, params, x, { rank }) => add(layer.forward(x), lowRankForward(layer, factors(params), x, { rank })),
  weight: (layer, params) => addLowRank(layer.weight, factors(params), 1),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["UNILORA"],
    fields: {
      fan_in_fan_out: option(false),
      init_theta_d_bound: option(0.02, { float: true }),
      init_weights: note(true),
      proj_seed: option(42),
      r: option(4),
      save_indices: option(false),
      theta_d_length: option(256),
      unilora_dropout: dropout,
    },
    optionFields: {
      rank: "r",
      length: "theta_d_length",
      seed: "proj_seed",
      bound: "init_theta_d_bound",
      saveAssignment: "save_indices",
    },
    suffixes: {
      unilora_indices_A: { param: "indicesA", integer: true },
      unilora_indices_B: { param: "indicesB", integer: true },
      unilora_scales_A: { param: "scalesA" },
      unilora_scales_B: { param: "scalesB" },
    },
    shared: ["unilora_theta_d"],
    modules: "targets",
    biasOfAdapted: ["unilora_only"],
  },
});

type Parts = Readonly<Record<"numbers" | "indicesA" | "indicesB" | "scalesA" | "scalesB", Value>>;

/** A [rank, in] and B [out, rank]. */
function factors({ numbers, indicesA, indicesB, scalesA, scalesB }: Parts): { A: Value; B: Value } {
  return { A: mul(gather(numbers, indicesA), scalesA), B: mul(gather(numbers, indicesB), scalesB) };
}

const entriesOf = ({ in: columns, out }: LayerShape, rank: number) => rank * (columns + out);

/** Where a layer's entries begin. */
function startOf({ path, layersInOrder }: LayerPlace, { rank }: UniLoraOptions): number {
  let start = 0;
  for (const [each, layer] of layersInOrder()) {
    if (each === path) break;
    start += entriesOf(layer, rank);
  }
  return start;
}

interface Assignment {
  readonly indices: BigInt64Array;
  readonly scales: Float64Array;
}

/** The last assignment of a model: all its layers ask for the same one. */
const kept = /* @__PURE__ */ new WeakMap<ReadonlyMap<string, LayerShape>, Assignment>();

/**
 * The number that every entry uses: each number ⌊entries / length⌋ times, some once more, shuffled; and 1 / √uses,
 * rounded to float32.
 */
function assignment({ length, rank, seed }: UniLoraOptions, layers: ReadonlyMap<string, LayerShape>): Assignment {
  const known = kept.get(layers);
  if (known !== undefined) return known;
  let entries = 0;
  for (const layer of layers.values()) entries += entriesOf(layer, rank);
  const generator = numpyGenerator(seed);
  const times = Math.floor(entries / length);
  const numbers = new Int32Array(entries);
  for (let i = 0; i < times * length; i++) numbers[i] = Math.floor(i / times);
  const rest = entries - times * length;
  if (rest > 0) numbers.set(chooseWithoutReplacement(generator, length, rest), times * length);
  shuffleInto(numbers, generator);
  const uses = new Int32Array(length);
  for (const number of numbers) uses[number]++;
  const made = {
    indices: BigInt64Array.from(numbers, BigInt),
    scales: Float64Array.from(numbers, (number) => Math.fround(1 / Math.sqrt(uses[number]))),
  };
  kept.set(layers, made);
  return made;
}

/** Options of `unilora`, checked. */
export type { UniLoraOptions };

import { add, matMul, mul, transpose, type Value } from "@loomweight/graph";
import {
  boolean,
  contiguousData,
  finite,
  fraction,
  integer,
  LoomweightError,
  type OptionValues,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type ParamShape, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { addLowRank } from "../maths/low-rank.ts";
import { addAt, rowsAndColumns } from "../maths/sparse.ts";
import { forwardWith, kaimingUniform } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  sparsity: fraction(0.99, "share of entries that never change"),
  largest: boolean(true, "the largest entries change; false: the smallest"),
  placesStored: boolean(true, "the places are in the file; false: found again from the base weight"),
  rank: integer(0, "rank of a LoRA beside the entries (Supra); 0: none", { min: 0 }),
  alpha: finite(0, "the LoRA is scaled by alpha / rank"),
};
type SupertuningOptions = OptionValues<typeof options>;
type SupertuningParams = "values" | "places" | "A" | "B" | "positions";

/**
 * Super-Tuning: the entries of largest magnitude change, W′[place] = W[place] + value, places counted row by row; with
 * `rank` also + alpha / rank · B A (Supra).
 * Source: as PEFT computes it (PEFT 0.21, `SUPERTUNING`); its page names no paper that was read for this.
 * Differs: where the file holds no places and magnitudes among the chosen are equal, their order is PyTorch's own and
 * the adapter is refused.
 */
export const supertuning = defineAdapter({
  name: "supertuning",
  source: "PEFT 0.21",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, given): { readonly [K in SupertuningParams]?: ParamShape } => {
    const count = chosenCount(layer, given);
    return {
      values: [count],
      ...(given.placesStored ? { places: [count] } : {}),
      ...(given.rank === 0 ? {} : { A: [given.rank, "in"], B: ["out", given.rank] }),
    };
  },
  init: (layer, given, { random, weight }): Record<string, Tensor> => {
    const { rank } = given;
    return {
      values: zeros([chosenCount(layer, given)]),
      ...(given.placesStored ? { places: placesTensor(chosenPlaces(layer, weight, given)) } : {}),
      ...(rank === 0
        ? {}
        : { A: kaimingUniform(random, "A", [rank, layer.in], layer.in), B: zeros([layer.out, rank]) }),
    };
  },
  prepare: async (layer, { places }, given, { weight }) => {
    const flat =
      places === undefined
        ? chosenPlaces(layer, await weight(), given, true)
        : Float64Array.from(contiguousData(places as Tensor<"int64">) as BigInt64Array, Number);
    checkPlaces(flat, layer.in * layer.out);
    return { positions: rowsAndColumns(flat, layer.in) };
  },
  apply: (layer, params, x, given) => {
    const y = forwardWith(layer, addAt(layer.weight, layer, params.positions, params.values), x);
    if (given.rank === 0) return y;
    const low = matMul(matMul(x, transpose(params.A, [1, 0])), transpose(params.B, [1, 0]));
    return add(y, mul(low, given.alpha / given.rank));
  },
  weight: (layer, params, given) => changed(layer, params, given),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["SUPERTUNING"],
    fields: {
      init_weights: note(true),
      lora_alpha: option(null),
      lora_dropout: dropout,
      r: option(null),
      save_precomputed_indices: option(true),
      select_top: option(true),
      sparsity: option(0.99),
    },
    optionFields: { sparsity: "sparsity", largest: "select_top", placesStored: "save_precomputed_indices" },
    readOptions: ({ r, lora_alpha: alpha }) => ({ rank: r ?? 0, alpha: alpha ?? (typeof r === "number" ? 2 * r : 0) }),
    writeOptions: ({ rank, alpha }) => (rank === 0 ? { r: null, lora_alpha: null } : { r: rank, lora_alpha: alpha }),
    suffixes: {
      supertuning_values: { param: "values" },
      supertuning_indices: { param: "places", integer: true },
      "supertuning_lora_A.weight": { param: "A" },
      "supertuning_lora_B.weight": { param: "B" },
    },
    biasOfAdapted: [],
  },
});

/** Options of `supertuning`, checked. */
export type { SupertuningOptions };

function changed(layer: LayerValues, params: Params<SupertuningParams>, { rank, alpha }: SupertuningOptions): Value {
  const sparse = addAt(layer.weight, layer, params.positions, params.values);
  return rank === 0 ? sparse : addLowRank(sparse, { A: params.A, B: params.B }, alpha / rank);
}

function chosenCount(layer: LayerShape, { sparsity }: SupertuningOptions): number {
  const [rows, columns] = layer.storedShape;
  const count = Math.trunc(rows * columns * (1 - sparsity));
  if (count > 0) return count;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "no entry of the layer is left to change",
    option: "supertuning.sparsity",
    expected: `less for a layer [${layer.out}, ${layer.in}]`,
    found: String(sparsity),
  });
}

/** Places of the entries of largest (or smallest) magnitude, in that order. `exact`: refuses where magnitudes are equal. */
function chosenPlaces(
  layer: LayerShape,
  weight: Tensor | undefined,
  given: SupertuningOptions,
  exact = false,
): Float64Array {
  if (weight === undefined) {
    throw new LoomweightError({
      code: "MISSING_OPTION",
      problem: "supertuning chooses entries by the layer's weight, which was not given",
      option: "init weight",
      expected: `a weight [${layer.out}, ${layer.in}]`,
    });
  }
  const count = chosenCount(layer, given);
  const sizes = Float64Array.from(contiguousData(weight) as Float64Array, Math.abs);
  const sign = given.largest ? -1 : 1;
  const order = Float64Array.from(sizes, (_, i) => i).sort((a, b) => sign * (sizes[a] - sizes[b]) || a - b);
  for (let i = 0; exact && i < count && i + 1 < order.length; i++) {
    if (sizes[order[i]] !== sizes[order[i + 1]]) continue;
    throw new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem:
        "the file does not hold the places of its values, and equal magnitudes in the base leave their order open",
      option: "save_precomputed_indices",
      fix: "Save the adapter with save_precomputed_indices=True.",
    });
  }
  return order.subarray(0, count);
}

function placesTensor(places: Float64Array): Tensor<"int64"> {
  return {
    dtype: "int64",
    data: BigInt64Array.from(places, (place) => BigInt(place)),
    shape: [places.length],
    stride: [1],
    offset: 0,
  };
}

function checkPlaces(places: Float64Array, size: number): void {
  const bad = places.findIndex((place) => place < 0 || place >= size);
  if (bad < 0) return;
  throw new LoomweightError({
    code: "INVALID_TENSOR",
    problem: "the adapter changes an entry that the weight does not have",
    tensor: "supertuning_indices",
    expected: `places from 0 to ${size - 1}`,
    found: String(places[bad]),
  });
}

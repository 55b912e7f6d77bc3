import { integer, invalidOption, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { addAt, rowsAndColumns } from "../maths/sparse.ts";
import { forwardWith } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";
import { torchPermutation } from "../random/torch-random.ts";

const options = {
  rank: integer(32, "sets how many entries change: rank (in + out), as many as a LoRA of that rank has numbers", {
    min: 1,
  }),
  seed: integer(-1, "seed of the places of a fresh adapter, as PEFT draws them; -1: from the adapter's own seed", {
    min: -1,
  }),
};
type ShiraOptions = OptionValues<typeof options>;

/**
 * SHiRA: a few entries of the weight change, W′[row, column] = W[row, column] + value at fixed random places. No scaling.
 * Source: Bhardwaj et al. 2024, arXiv:2406.13175. As PEFT computes it with its random mask.
 */
export const shira = defineAdapter({
  name: "shira",
  source: "arXiv:2406.13175",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, { rank }) => {
    const count = rank * (layer.in + layer.out);
    if (count > layer.in * layer.out) {
      throw invalidOption(
        { option: "shira.rank" },
        rank,
        `at most ${Math.floor((layer.in * layer.out) / (layer.in + layer.out))} for a layer [${layer.out}, ${layer.in}]`,
      );
    }
    return { values: [count], places: [2, count] };
  },
  init: (layer, { rank, seed }, { random }) => {
    const count = rank * (layer.in + layer.out);
    const own = seed === -1 ? Math.floor(random.uniform("places", [1], 0, 2 ** 24).data[0]) : seed;
    const places = rowsAndColumns(torchPermutation(layer.in * layer.out, count, own), layer.in);
    return { values: zeros([count]), places };
  },
  apply: (layer, { values, places }, x) => forwardWith(layer, addAt(layer.weight, layer, places, values), x),
  weight: (layer, { values, places }) => addAt(layer.weight, layer, places, values),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["SHIRA"],
    fields: {
      fan_in_fan_out: note(false),
      init_weights: note(true),
      mask_type: note("random"), // the places are in the file
      r: option(32),
      random_seed: option(null),
    },
    optionFields: { rank: "r" },
    readOptions: ({ random_seed: seed }) => ({ seed: seed ?? -1 }),
    writeOptions: ({ seed }) => ({ random_seed: seed === -1 ? null : seed }),
    suffixes: { shira_weight: { param: "values" }, shira_indices: { param: "places", integer: true } },
    biasOfAdapted: [],
  },
});

/** Options of `shira`, checked. */
export type { ShiraOptions };

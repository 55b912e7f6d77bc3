import { gather, mul, type Value } from "@loomweight/graph";
import {
  boolean,
  finite,
  fromData,
  integer,
  invalidOption,
  LoomweightError,
  type OptionValues,
  type Tensor,
  text,
  zeros,
} from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { addAt } from "../maths/sparse.ts";
import { forwardWith } from "../maths/update.ts";
import { daubechies, reachOf } from "../maths/wavelet.ts";
import { note, option } from "../peft/field.ts";
import { torchPermutation } from "../random/torch-random.ts";

const options = {
  frequencies: integer(2592, "trained wavelet coefficients", { min: 1 }),
  scaling: finite(25, "scale of the update"),
  wavelet: text("db1", "db1 (also haar) to db10"),
  transformed: boolean(
    true,
    "coefficients go through the inverse wavelet transform; false: they are entries of the update",
  ),
  seed: integer(777, "seed of the places, drawn as PyTorch draws them", { min: 0 }),
  proportional: boolean(false, "numbers of coefficients were dealt out by size of the layers: the file has them"),
};
type WaveftOptions = OptionValues<typeof options>;
type WaveftParams = "spectrum" | "places" | "sources" | "taps";

/**
 * WaveFT: W′ = W + scaling · (one step of the inverse 2-D wavelet transform of M), M [out, in] zero but for `spectrum` at
 * places drawn once from `seed`. A coefficient reaches few entries, so the update is a sparse sum.
 * Source: Bilican et al. 2025, arXiv:2505.12532. As PEFT computes it: coefficients centred in a padded matrix whose
 * quadrants are low·low, high·low (top right), low·high (bottom left) and high·high of rows · columns, ends of the filters cut off.
 * Differs: wavelets beyond Daubechies' first ten are refused.
 */
export const waveft = defineAdapter({
  name: "waveft",
  source: "arXiv:2505.12532",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, given, stored) =>
    ({ spectrum: [count(layer, given, stored?.get("spectrum"))] }) as Record<WaveftParams, [number]>,
  init: (layer, given) => ({ spectrum: zeros([count(layer, given, undefined)]) }),
  prepare: (layer, { spectrum }, given) => {
    const n = (spectrum as Tensor).shape[0];
    const made = reachedEntries(layer, n, given);
    return {
      places: made.places,
      sources: made.sources,
      taps: fromData("float64", made.taps, [made.taps.length]),
    };
  },
  apply: (layer, params, x, given) => forwardWith(layer, changed(layer, params, given), x),
  weight: (layer, params, given) => changed(layer, params, given),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["WAVEFT"],
    fields: {
      fan_in_fan_out: option(false),
      init_weights: note(true),
      n_frequency: option(2592),
      n_frequency_pattern: option({}),
      proportional_parameters: option(false),
      random_loc_seed: option(777),
      scaling: option(25, { float: true }),
      use_idwt: option(true),
      wavelet_family: option("db1"),
    },
    optionFields: {
      frequencies: "n_frequency",
      scaling: "scaling",
      wavelet: "wavelet_family",
      transformed: "use_idwt",
      seed: "random_loc_seed",
      proportional: "proportional_parameters",
    },
    readOptions: (config, file) => {
      if (config.use_idwt !== false) momentsOf(String(config.wavelet_family), file);
      return {};
    },
    patterns: { n_frequency_pattern: "frequencies" },
    suffixes: { waveft_spectrum: { param: "spectrum" } },
    biasOfAdapted: ["waveft_only"],
  },
});

/** Options of `waveft`, checked. */
export type { WaveftOptions };

/** Vanishing moments of a wavelet's name. */
function momentsOf(wavelet: string, file?: string): number {
  const moments = wavelet === "haar" ? 1 : Number(/^db(\d+)$/.exec(wavelet)?.[1] ?? 0);
  if (moments >= 1 && moments <= 10) return moments;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `the wavelet "${wavelet.slice(0, 40)}" is not supported`,
    file,
    option: file === undefined ? "waveft.wavelet" : "wavelet_family",
    expected: "haar or db1 to db10",
  });
}

function count(
  layer: LayerShape,
  { frequencies, proportional }: WaveftOptions,
  stored: readonly number[] | undefined,
): number {
  const size = layer.storedShape[0] * layer.storedShape[1];
  const wanted = proportional && stored?.length === 1 ? stored[0] : frequencies;
  if (wanted <= size) return wanted;
  throw invalidOption({ option: "waveft.frequencies" }, wanted, `at most ${size}, the entries of the layer`);
}

/** Entries of the update: places [2, k], the coefficient each comes from, and what that is multiplied by. */
function reachedEntries(layer: LayerShape, n: number, { seed, transformed, wavelet }: WaveftOptions) {
  const drawn = torchPermutation(layer.in * layer.out, n, seed);
  const filters = transformed ? daubechies(momentsOf(wavelet)) : undefined;
  const reach = (index: number, size: number) =>
    filters === undefined ? ({ from: index, half: "first" } as const) : reachOf(index, size, filters.low.length);
  const tapsOf = (half: "first" | "second") =>
    filters === undefined ? [1] : half === "first" ? filters.low : filters.high;
  const [rows, columns, sources, taps]: number[][] = [[], [], [], []];
  drawn.forEach((place, source) => {
    const down = reach(Math.floor(place / layer.in), layer.out);
    const across = reach(place % layer.in, layer.in);
    // PEFT's quadrants: the half of the columns decides the filter of the rows, and the other way round.
    tapsOf(across.half).forEach((a, i) => {
      const row = down.from + i;
      if (row < 0 || row >= layer.out) return;
      tapsOf(down.half).forEach((b, j) => {
        const column = across.from + j;
        if (column < 0 || column >= layer.in) return;
        rows.push(row);
        columns.push(column);
        sources.push(source);
        taps.push(a * b);
      });
    });
  });
  const whole = (values: readonly number[]) => BigInt64Array.from(values, BigInt);
  return {
    places: fromData("int64", BigInt64Array.from([...whole(rows), ...whole(columns)]), [2, rows.length]),
    sources: fromData("int64", whole(sources), [sources.length]),
    taps: Float64Array.from(taps),
  };
}

function changed(
  layer: LayerValues,
  { spectrum, places, sources, taps }: Params<WaveftParams>,
  { scaling }: WaveftOptions,
): Value {
  return addAt(layer.weight, layer, places, mul(gather(mul(spectrum, scaling), sources), taps));
}

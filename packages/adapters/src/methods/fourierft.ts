import {
  add,
  cast,
  cos,
  isGraphValue,
  matMul,
  mod,
  mul,
  sin,
  slice,
  sub,
  transpose,
  type Value,
} from "@loomweight/graph";
import {
  contiguousData,
  finite,
  fromData,
  integer,
  invalidOption,
  type OptionValues,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { inverseFourierRows } from "../maths/fourier.ts";
import { rowsAndColumns } from "../maths/sparse.ts";
import { forwardPlus } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";
import { torchPermutation } from "../random/torch-random.ts";

const options = {
  frequencies: integer(1000, "trained entries of the spectrum", { min: 1 }),
  scaling: finite(150, "scale of the update"),
  seed: integer(777, "seed of the places in the spectrum, drawn as PyTorch draws them", { min: 0 }),
};
type FourierftOptions = OptionValues<typeof options>;

/**
 * FourierFT: W′ = W + scaling · Re(inverse 2-D Fourier transform of M), M [out, in] zero but for `spectrum` at places
 * drawn once from `seed`: the first entries of PyTorch's random permutation of all places, row by row.
 * Source: Gao et al. 2024, arXiv:2405.03003. As PEFT computes it.
 * Differs: fresh spectra are zero; PEFT draws them, so that its fresh adapter changes the model.
 */
export const fourierft = defineAdapter({
  name: "fourierft",
  source: "arXiv:2405.03003",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, given) => ({ spectrum: [count(layer, given)] }) as { spectrum: [number]; places?: undefined },
  init: (layer, given) => ({ spectrum: zeros([count(layer, given)]) }),
  prepare: (layer, _params, given) => {
    const places = torchPermutation(layer.in * layer.out, count(layer, given), given.seed);
    return { places: rowsAndColumns(places, layer.in) };
  },
  apply: (layer, params, x, given) => forwardPlus(layer, bySums(layer, params, given), x),
  weight: (layer, params, given) => {
    const isSymbolic = isGraphValue(params.spectrum) || isGraphValue(params.places);
    return add(layer.weight, isSymbolic ? bySums(layer, params, given) : byTransforms(layer, params, given));
  },
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["FOURIERFT"],
    fields: {
      fan_in_fan_out: option(false),
      init_weights: note(false),
      n_frequency: option(1000),
      n_frequency_pattern: option({}),
      random_loc_seed: option(777),
      scaling: option(150, { float: true }),
    },
    optionFields: { frequencies: "n_frequency", scaling: "scaling", seed: "random_loc_seed" },
    patterns: { n_frequency_pattern: "frequencies" },
    suffixes: { fourierft_spectrum: { param: "spectrum" } },
    biasOfAdapted: ["fourier_only"],
  },
});

/** Options of `fourierft`, checked. */
export type { FourierftOptions };

function wholeSizes({ kind, storedShape }: LayerShape): { out: number; in: number } {
  const [rows, columns] = storedShape;
  return kind === "transposedLinear" ? { out: columns, in: rows } : { out: rows, in: columns };
}

function count(layer: LayerShape, { frequencies }: FourierftOptions): number {
  const { out, in: width } = wholeSizes(layer);
  if (frequencies <= out * width) return frequencies;
  throw invalidOption(
    { option: "fourierft.frequencies" },
    frequencies,
    `at most ${out * width} for a layer [${out}, ${width}]`,
  );
}

/** Re Σ spectrum e^{2πi (row r / out + column c / in)} as products of cosines and sines: works in a graph. */
function bySums(
  layer: LayerValues,
  { spectrum, places }: Params<"spectrum" | "places">,
  { scaling }: FourierftOptions,
): Value {
  const whole = wholeSizes(layer);
  const waves = (size: number, first: number, count: number, axis: 0 | 1) => {
    const positions = fromData(
      "int64",
      BigInt64Array.from({ length: count }, (_, i) => BigInt(first + i)),
      [count, 1],
    );
    const own = slice(places, { starts: [axis], ends: [axis + 1], axes: [0] });
    // Whole turns are taken off while the numbers are whole: nothing is lost in float32.
    const turns = cast(
      mod(mul(positions, own), fromData("int64", BigInt64Array.of(BigInt(size)), [1])),
      spectrum.dtype,
    );
    const angles = mul(turns, (2 * Math.PI) / size);
    return { cos: cos(angles), sin: sin(angles) }; // [count, frequencies]
  };
  const down = waves(whole.out, layer.offset?.out ?? 0, layer.out, 0);
  const across = waves(whole.in, layer.offset?.in ?? 0, layer.in, 1);
  const scaled = mul(spectrum, scaling / (whole.out * whole.in));
  const part = (wave: "cos" | "sin") => matMul(mul(down[wave], scaled), transpose(across[wave], [1, 0]));
  return sub(part("cos"), part("sin"));
}

/** The same by fast transforms of rows: for folding. Slices along `in` transform columns. */
function byTransforms(
  layer: LayerValues,
  { spectrum, places }: Params<"spectrum" | "places">,
  { scaling }: FourierftOptions,
): Value {
  const whole = wholeSizes(layer);
  const at = Array.from(contiguousData(places as Tensor<"int64">) as BigInt64Array, Number);
  const values = Float64Array.from(contiguousData(spectrum as Tensor) as Float64Array, (value) => value * scaling);
  const [rows, columns] = [at.slice(0, values.length), at.slice(values.length)];
  if (layer.in === whole.in) {
    const size = { height: whole.out, width: whole.in };
    const found = inverseFourierRows({ rows, columns, values }, size, layer.offset?.out ?? 0, layer.out);
    return fromData("float64", found, [layer.out, layer.in]);
  }
  const size = { height: whole.in, width: whole.out };
  const found = inverseFourierRows({ rows: columns, columns: rows, values }, size, layer.offset?.in ?? 0, layer.in);
  return transpose(fromData("float64", found, [layer.in, layer.out]), [1, 0]);
}

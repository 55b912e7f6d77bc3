import { add, matMul, mul, reshape, scatterND, sub, transpose, type Value } from "@loomweight/graph";
import { solve } from "@loomweight/linalg";
import { contiguousData, fromData, LoomweightError, type OptionValues, type Tensor } from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type ParamShape, type Params, type SharedParam } from "../define.ts";
import { constantLike, forwardWith } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";

const options = {};
type FrodParams = "diagonal" | "values" | "basis" | "places" | "size" | "turned";

/**
 * FRoD: W′ = W − base + U (S + diag(diagonal)) Vᵀ: a basis V [in, in] that layers of one role share, U [out, in] the
 * normalised columns of base · V⁻ᵀ, S [in, in] with trained `values` at shared places. U is computed from the base when
 * a file is read.
 * Source: as PEFT computes it (PEFT 0.21, `FROD`); no paper was read for this.
 * Differs: fresh adapters, whose basis needs the weights of all layers at once, are refused.
 */
export const frod = defineAdapter({
  name: "frod",
  source: "PEFT 0.21",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  frozen: ["basis", "size"],
  params: (layer, _given, stored): { readonly [K in FrodParams]?: ParamShape } => ({
    diagonal: [layer.in],
    values: [stored?.get("values")?.[0] ?? 0],
  }),
  sharedParams: (layer, _given, { path }): { readonly [K in FrodParams]?: SharedParam } => {
    const role = roleOf(path);
    return {
      basis: { key: `frod_V.${role}`, shape: [layer.in, layer.in] },
      places: { key: `frod_s_indices.${role}`, shape: [2, null] },
      size: { key: `frod_s_size.${role}`, shape: [2] },
    };
  },
  fresh: () => "none",
  init: () => {
    throw new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem: "a fresh frod adapter needs a basis made from the weights of all its layers, which is not built",
      fix: "Start from an adapter that PEFT made.",
    });
  },
  prepared: (layer): { readonly [K in FrodParams]?: ParamShape } => ({ turned: ["out", layer.in] }),
  prepare: async (_layer, { basis }, _given, { weight }) => {
    const turned = transpose(solve(basis as Tensor, contiguous(transpose(await weight(), [1, 0]) as Tensor)), [1, 0]);
    return { turned: normalised(turned as Tensor) };
  },
  apply: (layer, params, x) => forwardWith(layer, changed(layer, params), x),
  weight: (layer, params) => changed(layer, params),
  tiling: () => ({ out: 1 }),
  files: {
    peftTypes: ["FROD"],
    fields: {
      fan_in_fan_out: option(false),
      frod_dropout: note(0, { float: true }),
      init_weights: note(true),
      progressbar: note(true),
      projection_prng_key: note(0),
      regularization_alpha: note(0.001, { float: true }),
      runtime_offload_base_weight: note(false),
      save_projection: note(true),
      sparse_rate: note(0.01, { float: true }),
    },
    optionFields: {},
    suffixes: { frod_lambda_l: { param: "diagonal" }, frod_lambda_s_values: { param: "values" } },
    shared: ["frod_V.*", "frod_s_indices.*", "frod_s_size.*"],
    biasOfAdapted: ["frod_only"],
  },
});

/** Options of `frod`: none. */
export type FrodOptions = OptionValues<typeof options>;

/** What layers of different blocks have in common: the last two parts of the path, one after a number. */
export function roleOf(path: string): string {
  const parts = path.split(".");
  const last = parts[parts.length - 1];
  const before = parts[parts.length - 2];
  if (before === undefined || /^\d+$/.test(before)) return last;
  const role = `${before}_${last}`;
  return role === "output_dense" && parts[parts.length - 3] === "attention" ? "attention_output" : role;
}

function changed(layer: LayerValues, { diagonal, values, basis, places, turned }: Params<FrodParams>): Value {
  const width = basis.shape[0] as number;
  const empty = constantLike(basis, new Float64Array(width * width), [width, width]);
  const sparse = scatterND(empty, transpose(places, [1, 0]), values, "add");
  const middle = add(matMul(turned, sparse), mul(turned, reshape(diagonal, [1, width]))); // U (S + diag)
  return add(layer.weight, sub(matMul(middle, transpose(basis, [1, 0])), layer.base));
}

function contiguous(x: Tensor): Tensor {
  return fromData("float64", contiguousData(x) as Float64Array, x.shape);
}

/** Columns over their lengths; those of no length are zero, as in PEFT. */
function normalised(x: Tensor): Tensor {
  const [rows, columns] = x.shape;
  const values = Float64Array.from(contiguousData(x) as Float64Array);
  for (let j = 0; j < columns; j++) {
    let square = 0;
    for (let i = 0; i < rows; i++) square += values[i * columns + j] ** 2;
    const length = Math.sqrt(square);
    for (let i = 0; i < rows; i++) values[i * columns + j] = length > 1e-12 ? values[i * columns + j] / length : 0;
  }
  return fromData("float64", values, [rows, columns]);
}

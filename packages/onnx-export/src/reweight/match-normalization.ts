import type { TensorInfo } from "@loomweight/checkpoint";
import { elementCount, toFloat32 } from "@loomweight/tensor";
import { type NameIndex, recipesByName } from "./match-names.ts";
import type { ValueIndex } from "./match-values.ts";
import { type FoldedNormalization, type Recipe, sameShape, tensorsOf } from "./recipe.ts";
import type { WeightSlot } from "./slots.ts";

/** Epsilons of published models' batch normalizations: they are no tensors, so values have to tell them. */
const epsilons = [1e-5, 1e-3, 1e-6, 1e-4, 1e-12];

/** Products of float32 that exporters fold in another order than this project. */
const tolerance = 2e-5;

/**
 * A convolution whose batch normalization was folded into it: W′[o] = W[o] · s[o] and b′ = β + (b − μ) · s with
 * s = γ / √(σ² + ε), found by what the base's tensors give. undefined where none does.
 */
export async function foldedNormalization(
  weight: WeightSlot,
  bias: WeightSlot,
  names: NameIndex,
  index: ValueIndex,
): Promise<{ weight: Recipe; bias: Recipe } | undefined> {
  const { shape } = weight.form;
  if (!weight.form.exact || shape.length < 3 || elementCount(bias.form.shape) !== shape[0]) return undefined;
  const [valueAt, biasAt] = [await weight.form.open(), await bias.form.open()];
  const rows = shape[0];
  const width = elementCount(shape.slice(1));
  const tensors = index.checkpoint.tensors;
  const named = recipesByName(weight, names).flatMap(tensorsOf);
  const all = [...tensors.values()].filter((info) => sameShape(info.shape, shape)).map(({ name }) => name);
  for (const name of new Set([...named.filter((each) => all.includes(each)), ...all])) {
    const kernel = toFloat32(await index.checkpoint.read(name));
    const scales = rowScales((at) => valueAt(at), kernel, rows, width);
    if (scales === undefined) continue;
    const norm = await normalizationOf(scales, biasAt, rows, name, index);
    if (norm === undefined) continue;
    const plain = { scale: 1, offset: 0, transpose: false };
    return {
      weight: {
        ...plain,
        rows: [{ tensor: name, start: 0, count: rows }],
        width,
        shape,
        normalization: { ...norm, part: "weight" },
      },
      bias: {
        ...plain,
        rows: [{ tensor: norm.bias, start: 0, count: rows }],
        width: 1,
        shape: bias.form.shape,
        normalization: { ...norm, part: "bias" },
      },
    };
  }
  return undefined;
}

/** By what number each row of a kernel was multiplied; undefined where a row is no multiple. */
function rowScales(
  valueAt: (index: number) => number,
  kernel: Float32Array,
  rows: number,
  width: number,
): Float64Array | undefined {
  const scales = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    let [above, below, largest] = [0, 0, 0];
    for (let at = row * width; at < (row + 1) * width; at++) {
      above += valueAt(at) * kernel[at];
      below += kernel[at] * kernel[at];
      largest = Math.max(largest, Math.abs(valueAt(at)));
    }
    scales[row] = below === 0 ? 0 : above / below;
    for (let at = row * width; at < (row + 1) * width; at++) {
      if (Math.abs(valueAt(at) - kernel[at] * scales[row]) > tolerance * largest) return undefined;
    }
  }
  return scales;
}

/** The normalization of the base that gives these scales, and the folded bias. */
async function normalizationOf(
  scales: Float64Array,
  biasAt: (index: number) => number,
  rows: number,
  kernel: string,
  { checkpoint }: ValueIndex,
): Promise<Omit<FoldedNormalization, "part"> | undefined> {
  const vector = async (name: string) => toFloat32(await checkpoint.read(name));
  const own = kernel.replace(/\.weight$/, ".bias");
  const convolutionBias = checkpoint.tensors.has(own) ? own : undefined;
  const before = convolutionBias === undefined ? undefined : await vector(convolutionBias);
  const isVector = (info: TensorInfo | undefined) => info?.shape.length === 1 && info.shape[0] === rows;
  let best: { norm: Omit<FoldedNormalization, "part">; error: number } | undefined;
  for (const info of checkpoint.tensors.values()) {
    if (!info.name.endsWith(".running_var") || !isVector(info)) continue;
    const part = (kind: string) => `${info.name.slice(0, -"running_var".length)}${kind}`;
    const names = { weight: part("weight"), bias: part("bias"), mean: part("running_mean"), variance: info.name };
    if (!Object.values(names).every((name) => isVector(checkpoint.tensors.get(name)))) continue;
    const [gamma, beta, mean, variance] = await Promise.all(Object.values(names).map(vector));
    for (const epsilon of epsilons) {
      let error = 0;
      for (let row = 0; row < rows; row++) {
        const scale = gamma[row] / Math.sqrt(variance[row] + epsilon);
        const shift = beta[row] + ((before?.[row] ?? 0) - mean[row]) * scale;
        const reach = Math.abs(beta[row]) + Math.abs(mean[row] * scale) + 1e-6;
        // a row of zeros has any scale; its bias tells
        const off = scales[row] === 0 ? 0 : Math.abs(scales[row] - scale) / Math.abs(scale);
        error = Math.max(error, off, Math.abs(biasAt(row) - shift) / reach);
      }
      if (error <= tolerance && error < (best?.error ?? 1))
        best = { norm: { ...names, epsilon, convolutionBias }, error };
    }
  }
  return best?.norm;
}

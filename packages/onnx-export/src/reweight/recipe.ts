import type { Checkpoint } from "@loomweight/checkpoint";
import { type LazyTensor, lazyFrom, type Scratch } from "@loomweight/graph";
import {
  cast,
  type DType,
  elementCount,
  fromData,
  reshape,
  type Tensor,
  toFloat32,
  transpose,
} from "@loomweight/tensor";

/** Rows [start, start + count) of a checkpoint tensor seen as a matrix of rows `width` long. */
export interface RowRange {
  readonly tensor: string;
  readonly start: number;
  readonly count: number;
}

/**
 * How the float form of a weight follows from checkpoint tensors: rows one below the other, [rows, width]; transposed
 * where the graph stores it so; every value times `scale`, plus `offset`; in the weight's shape.
 */
export interface Recipe {
  readonly rows: readonly RowRange[];
  readonly width: number;
  readonly transpose: boolean;
  readonly scale: number;
  readonly offset: number;
  readonly shape: readonly number[];
  /** A batch normalization that is folded in. */
  readonly normalization?: FoldedNormalization;
}

/** Tensors of a batch normalization behind a convolution: s = weight / √(variance + epsilon), one number a channel. */
export interface FoldedNormalization {
  readonly weight: string;
  readonly bias: string;
  readonly mean: string;
  readonly variance: string;
  readonly epsilon: number;
  /** The convolution's own, where it has one. */
  readonly convolutionBias?: string;
  /** "weight": each row times s; "bias": bias + (convolutionBias − mean) · s. */
  readonly part: "weight" | "bias";
}

/** The tensors of a recipe, each once. */
export function tensorsOf({ rows, normalization }: Recipe): string[] {
  return [...new Set([...rows.map(({ tensor }) => tensor), ...namesOf(normalization)])];
}

function namesOf(normalization: FoldedNormalization | undefined): string[] {
  if (normalization === undefined) return [];
  const { part, weight, bias, mean, variance, convolutionBias } = normalization;
  if (part === "weight") return [weight, variance];
  return [weight, bias, mean, variance, ...(convolutionBias === undefined ? [] : [convolutionBias])];
}

/** The recipe with other names for its tensors. */
export function renameTensors(recipe: Recipe, rename: (name: string) => string): Recipe {
  const { rows, normalization: norm } = recipe;
  return {
    ...recipe,
    rows: rows.map((row) => ({ ...row, tensor: rename(row.tensor) })),
    ...(norm && {
      normalization: {
        ...norm,
        weight: rename(norm.weight),
        bias: rename(norm.bias),
        mean: rename(norm.mean),
        variance: rename(norm.variance),
        convolutionBias: norm.convolutionBias && rename(norm.convolutionBias),
      },
    }),
  };
}

/** What a recipe does, for reports: "transpose", "3 tensors joined, transpose"; "" for a plain copy. */
export function describeRecipe(recipe: Recipe, rowsOf: (tensor: string) => number): string {
  const { rows, transpose: turned, scale, offset } = recipe;
  const whole = rows.every(({ tensor, start, count }) => start === 0 && count === rowsOf(tensor));
  const steps = [
    whole ? (rows.length > 1 ? `${rows.length} tensors joined` : "") : `${rows.length} runs of rows`,
    turned ? "transpose" : "",
    scale === 1 ? "" : `times ${scale}`,
    offset === 0 ? "" : `plus ${offset}`,
    recipe.normalization === undefined ? "" : "batch normalization folded in",
  ];
  return steps.filter((step) => step !== "").join(", ");
}

/** Rows of a tensor seen as a matrix of rows `width` long. */
export function rowCount(shape: readonly number[], width: number): number {
  return width === 0 ? 0 : elementCount(shape) / width;
}

/**
 * The float weight of a recipe, read when it is written: streamed where it is one whole tensor, else put together in
 * memory as float32 and cast once.
 */
export function recipeWeight(checkpoint: Checkpoint, recipe: Recipe, dtype: DType, scratch: Scratch): LazyTensor {
  const [first] = recipe.rows;
  const info = checkpoint.tensors.get(first.tensor);
  const plain = recipe.rows.length === 1 && recipe.scale === 1 && recipe.offset === 0 && !recipe.normalization;
  if (plain && info !== undefined && first.start === 0 && first.count === rowCount(info.shape, recipe.width)) {
    const flat = info.shape.length === 2 || !recipe.transpose;
    if (flat) {
      const lazy = lazyFrom(checkpoint, first.tensor, { transpose: recipe.transpose, dtype, scratch });
      const inShape = (tensor: Tensor) =>
        sameShape(tensor.shape, recipe.shape) ? tensor : reshape(tensor, recipe.shape);
      return { ...lazy, shape: recipe.shape, read: async () => inShape(await lazy.read()) };
    }
  }
  return {
    dtype,
    shape: recipe.shape,
    origin: { tensors: tensorsOf(recipe) },
    read: () => assemble(checkpoint, recipe, dtype),
  };
}

async function assemble(checkpoint: Checkpoint, recipe: Recipe, dtype: DType): Promise<Tensor> {
  const { rows, width, scale, offset } = recipe;
  const height = rows.reduce((sum, { count }) => sum + count, 0);
  const values = new Float32Array(height * width);
  let at = 0;
  for (const { tensor, start, count } of rows) {
    const range = { start: start * width, end: (start + count) * width };
    values.set(toFloat32(await checkpoint.read(tensor, { range })), at);
    at += count * width;
  }
  if (scale !== 1) for (let i = 0; i < values.length; i++) values[i] *= scale;
  if (offset !== 0) for (let i = 0; i < values.length; i++) values[i] += offset;
  if (recipe.normalization !== undefined) await normalize(values, width, recipe.normalization, checkpoint);
  const matrix = fromData("float32", values, [height, width]);
  const turned = recipe.transpose ? transpose(matrix) : matrix;
  const shaped = sameShape(turned.shape, recipe.shape) ? turned : reshape(turned, recipe.shape);
  return dtype === "float32" ? shaped : cast(shaped, dtype);
}

/** Folds a normalization into the rows of a kernel [channels, width], or into its bias [channels, 1], in place. */
async function normalize(
  values: Float32Array,
  width: number,
  normalization: FoldedNormalization,
  checkpoint: Checkpoint,
): Promise<void> {
  const { weight, mean, variance, convolutionBias, epsilon, part } = normalization;
  const vector = async (name: string) => toFloat32(await checkpoint.read(name));
  const [gamma, sigma2] = [await vector(weight), await vector(variance)];
  const mu = await vector(mean);
  const before = convolutionBias === undefined ? undefined : await vector(convolutionBias);
  for (let channel = 0; channel < gamma.length; channel++) {
    const scale = gamma[channel] / Math.sqrt(sigma2[channel] + epsilon);
    if (part === "bias") values[channel] += ((before?.[channel] ?? 0) - mu[channel]) * scale;
    else for (let at = channel * width; at < (channel + 1) * width; at++) values[at] *= scale;
  }
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

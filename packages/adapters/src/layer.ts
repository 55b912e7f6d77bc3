import { elementCount, LoomweightError } from "@loomweight/tensor";

/**
 * What an adapted module computes, which decides how its weight is stored:
 * `linear` [out, in]; `transposedLinear` (GPT-2's Conv1D) and `embedding` [in, out] (an embedding maps one of `in`
 * tokens to `out` numbers); `convolution` [out, in / groups, ...kernel]; `normalization` [out], in = 1.
 */
export type LayerKind = "linear" | "transposedLinear" | "embedding" | "convolution" | "normalization";

/**
 * A layer as adapter methods see it: one matrix [out, in], whatever the storage. For a convolution `in` counts
 * channels × kernel positions.
 */
export interface LayerShape {
  readonly kind: LayerKind;
  readonly in: number;
  readonly out: number;
  /** Of the stored weight. */
  readonly storedShape: readonly number[];
  /** Of a convolution, where they are known; folding sees a weight only and does not. Default 1. */
  readonly groups?: number;
}

/** Dimensions that a weight of each kind can have. */
const ranks: Readonly<Record<LayerKind, readonly number[]>> = {
  linear: [2],
  transposedLinear: [2],
  embedding: [2],
  convolution: [3, 4, 5],
  normalization: [1],
};

/** A kind of layer over a stored weight. Throws `UNSUPPORTED_LAYER` when a weight of that rank cannot be one. */
export function layerOf(kind: LayerKind, storedShape: readonly number[], tensor?: string): LayerShape {
  const rank = storedShape.length;
  if (!ranks[kind].includes(rank)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_LAYER",
      problem: `a weight with ${rank} dimensions cannot be that of ${/^[aeiou]/.test(kind) ? "an" : "a"} ${kind} layer`,
      tensor,
      expected: `${ranks[kind].join(" or ")} dimensions`,
      found: `[${storedShape}]`,
    });
  }
  if (kind === "normalization") return { kind, out: storedShape[0], in: 1, storedShape };
  if (kind === "linear") return { kind, out: storedShape[0], in: storedShape[1], storedShape };
  if (kind === "convolution") return { kind, out: storedShape[0], in: elementCount(storedShape.slice(1)), storedShape };
  return { kind, out: storedShape[1], in: storedShape[0], storedShape };
}

/** The axis of [out, in] along which stored rows run: tiles of a file are slices along it. */
export function storedAxis(layer: LayerShape): "out" | "in" {
  return layer.kind === "transposedLinear" || layer.kind === "embedding" ? "in" : "out";
}

/** Elements of one stored row. */
export function rowLength(layer: LayerShape): number {
  return storedAxis(layer) === "out" ? layer.in : layer.out;
}

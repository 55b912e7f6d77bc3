import { elementCount, LoomweightError } from "@loomweight/tensor";

/**
 * What an adapted module computes, which decides how its weight is stored:
 * `linear` [out, in]; `transposedLinear` (GPT-2's Conv1D) and `embedding` [in, out] (an embedding maps one of `in`
 * tokens to `out` numbers); `convolution` [out, in / groups, ...kernel].
 */
export type LayerKind = "linear" | "transposedLinear" | "embedding" | "convolution";

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
}

/** A kind of layer over a stored weight. Throws `UNSUPPORTED_LAYER` when a weight of that rank cannot be one. */
export function layerOf(kind: LayerKind, storedShape: readonly number[], tensor?: string): LayerShape {
  const rank = storedShape.length;
  if (kind === "convolution" ? rank < 3 || rank > 5 : rank !== 2) {
    throw new LoomweightError({
      code: "UNSUPPORTED_LAYER",
      problem: `a weight with ${rank} dimensions cannot be that of ${kind === "convolution" ? "a convolution" : `an ${kind} layer`}`,
      tensor,
      expected: kind === "convolution" ? "3 to 5 dimensions" : "2 dimensions",
      found: `[${storedShape}]`,
    });
  }
  if (kind === "linear") return { kind, out: storedShape[0], in: storedShape[1], storedShape };
  if (kind === "convolution") return { kind, out: storedShape[0], in: elementCount(storedShape.slice(1)), storedShape };
  return { kind, out: storedShape[1], in: storedShape[0], storedShape };
}

/** The axis of [out, in] along which stored rows run: tiles of a file are slices along it. */
export function storedAxis(layer: LayerShape): "out" | "in" {
  return layer.kind === "linear" || layer.kind === "convolution" ? "out" : "in";
}

/** Elements of one stored row. */
export function rowLength(layer: LayerShape): number {
  return storedAxis(layer) === "out" ? layer.in : layer.out;
}

import { add, layerNormalization, simplifiedLayerNormalization, type Value } from "@loomweight/graph";
import { inFloat32 } from "./float32.ts";
import { inside, type Module, weight } from "./module.ts";

export interface NormOptions {
  /** Size of the last axis. */
  readonly size: number;
  readonly epsilon: number;
}

export interface LayerNormOptions extends NormOptions {
  /** Whether there is a bias; default true. */
  readonly bias?: boolean;
}

/** LayerNorm over the last axis: (x − mean) / sqrt(var + ε) · weight + bias. Ba et al. 2016, arXiv:1607.06450. */
export function layerNorm(
  parent: Module,
  name: string,
  x: Value,
  { size, epsilon, bias = true }: LayerNormOptions,
): Value {
  return inside(parent, name, (module) => {
    const shift = bias ? weight(module, "bias", [size]) : undefined;
    return layerNormalization(x, weight(module, "weight", [size]), shift, { axis: -1, epsilon });
  });
}

/**
 * RMSNorm over the last axis: x / sqrt(mean(x²) + ε) · weight, normalised in float32, in the dtype of x. One node here, of which
 * `rewriteNorms` makes what a file may hold.
 * Zhang and Sennrich 2019, arXiv:1910.07467.
 */
export function rmsNorm(
  parent: Module,
  name: string,
  x: Value,
  {
    size,
    epsilon,
    unitOffset = false,
  }: NormOptions & {
    /** The stored weight is what the scale differs from 1 by, as in Gemma. Default false. */
    readonly unitOffset?: boolean;
  },
): Value {
  return inside(parent, name, (module) => {
    const stored = weight(x.dtype === "float32" ? inFloat32(module) : module, "weight", [size]);
    const scale = unitOffset ? add(stored, 1) : stored;
    return simplifiedLayerNormalization(x, scale, { axis: -1, epsilon });
  });
}

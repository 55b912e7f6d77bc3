import { abs, add, div, max, min, mul, reduceL1, reduceMax, type Value } from "@loomweight/graph";
import { choice, nonNegative, parseOptions, positive } from "@loomweight/tensor";
import { globalNorm, total } from "./norms.ts";
import type { GradientTransform } from "./transform.ts";

export interface ClipByGlobalNormOptions {
  /** Added to the norm before dividing; default 1e-6 as torch's clip_grad_norm_, optax and timm have 0. */
  readonly epsilon?: number;
  /** Which norm over all entries; default "l2". */
  readonly norm?: "l1" | "l2" | "max";
}

const specs = {
  limit: positive(1, "largest norm of all gradients together"),
  epsilon: nonNegative(1e-6, "added to the norm before dividing"),
  norm: choice(["l1", "l2", "max"], "l2", "which norm over all entries"),
};

/**
 * Scales all gradients by min(1, limit / (norm + epsilon)), the norm taken over all of them together. Not finite where a
 * gradient is not.
 */
export function clipByGlobalNorm(limit: number, options: ClipByGlobalNormOptions = {}): GradientTransform {
  const checked = parseOptions(specs, { limit, ...options }, "clipByGlobalNorm");
  return {
    name: "clipByGlobalNorm",
    transform({ gradients }) {
      const entries = Object.entries(gradients);
      if (entries.length === 0) return { gradients };
      const length = gradientNorm(gradients, checked.norm);
      const factor = min(div(checked.limit, checked.epsilon > 0 ? add(length, checked.epsilon) : length), 1);
      return { gradients: Object.fromEntries(entries.map(([name, g]) => [name, mul(g, factor)])) };
    },
  };
}

/** Norm over all entries of all gradients, a scalar: what clipping compares, and worth logging. */
export function gradientNorm(gradients: Readonly<Record<string, Value>>, kind: "l1" | "l2" | "max" = "l2"): Value {
  const values = Object.values(gradients);
  if (kind === "l2") return globalNorm(values);
  if (kind === "l1") return total(values.map((value) => reduceL1(value, undefined, false)));
  return values.map((value) => reduceMax(abs(value), undefined, false)).reduce((largest, value) => max(largest, value));
}

import { concat, gradient, matMul, reshape, transpose, type Value } from "@loomweight/graph";
import { clipByNorm, globalNorm } from "@loomweight/graph/training";
import { LoomweightError } from "@loomweight/tensor";

export interface GramOptions {
  /** Largest norm of an objective's gradient, over all `parameters` together; default: not clipped. */
  readonly maxNorm?: number;
  /** Which parameters take part in the products, after clipping; default all. */
  readonly targets?: (name: string) => boolean;
}

/**
 * Inner products [K, K] of the gradients of K losses with respect to the parameters, in the parameters' dtype: one
 * forward pass, K backward passes, and nothing but K² numbers leaves the graph. Throws `NO_TARGETS`.
 */
export function objectiveGram(
  losses: readonly Value[],
  parameters: Readonly<Record<string, Value>>,
  { maxNorm, targets = () => true }: GramOptions = {},
): Value {
  const names = Object.keys(parameters).filter(targets);
  if (names.length === 0) {
    throw new LoomweightError({
      code: "NO_TARGETS",
      option: "targets",
      problem: "no parameter takes part in the products of gradients",
      expected: Object.keys(parameters).slice(0, 5).join(", "),
      fix: "Choose some of these names.",
    });
  }
  const rows = losses.map((loss) => {
    const whole = gradient(loss, parameters);
    const clipped = maxNorm === undefined ? whole : clipByNorm(whole, globalNorm(whole), maxNorm);
    const flat = names.map((name) => reshape(clipped[name], [1, -1]));
    return flat.length === 1 ? flat[0] : concat(flat, 1);
  });
  const stacked = rows.length === 1 ? rows[0] : concat(rows, 0);
  return matMul(stacked, transpose(stacked, [1, 0]));
}

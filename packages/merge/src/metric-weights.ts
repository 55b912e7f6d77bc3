import { LoomweightError } from "@loomweight/tensor";

/** How a metric of a checkpoint becomes its weight. */
export interface MetricWeightOptions {
  /**
   * `loss`: lower is better; `step`: later is better; `score` with its direction. Default `loss`.
   */
  readonly metric?: "loss" | "step" | { readonly higherIsBetter: boolean };
  /**
   * `power` (default): w ∝ uᵖ of the utility u (1 / loss, the step, the score); `offset`: w ∝ u − ρ · min u; `softmax`:
   * w ∝ exp(−p (loss − min)), or exp(p (value − max)) where higher is better, which depends on the metric's unit.
   */
  readonly form?: "power" | "offset" | "softmax";
  /** p >= 0: 0 gives the plain mean, large values keep the best checkpoint alone. Default 1. */
  readonly penalty?: number;
  /** ρ of `offset`, 0 <= ρ < 1; default 0.5. */
  readonly rho?: number;
  /** Metric values below it count as it (`power`, `offset`); default 1e-8, for losses near 0. */
  readonly floor?: number;
}

/**
 * Weights of checkpoints from one metric value each: positive, of sum 1, float64. Throws `INVALID_OPTION`, and
 * `INVALID_METRIC` naming the checkpoint whose value is not finite or not positive.
 */
export function metricWeights(values: ArrayLike<number>, options: MetricWeightOptions = {}): Float64Array {
  const { metric = "loss", form = "power", penalty = 1, rho = 0.5, floor = 1e-8 } = options;
  check("penalty", penalty, penalty >= 0, "a finite number of at least 0");
  check("rho", rho, rho >= 0 && rho < 1, "a number from 0 to below 1");
  check("floor", floor, floor > 0, "a number above 0");
  if (values.length === 0) {
    throw new LoomweightError({
      code: "INVALID_METRIC",
      problem: "there are no checkpoints to weigh",
      expected: "at least one value",
    });
  }
  const higher = typeof metric === "object" ? metric.higherIsBetter : metric === "step";
  const given = Float64Array.from(values);
  for (const [index, value] of given.entries()) {
    if (Number.isFinite(value) && (form === "softmax" || value > 0)) continue;
    throw new LoomweightError({
      code: "INVALID_METRIC",
      problem: `the metric of checkpoint ${index} cannot be weighed`,
      expected: form === "softmax" ? "a finite number" : "a finite number above 0",
      found: `${value}`,
      ...(form !== "softmax" && { fix: 'form "softmax" takes values of any sign.' }),
    });
  }
  if (form === "softmax") return softmax(given.map((value) => (higher ? penalty * value : -penalty * value)));
  const utility = given.map((value) => (higher ? Math.max(value, floor) : 1 / Math.max(value, floor)));
  if (form === "power") return softmax(utility.map((u) => penalty * Math.log(u)));
  const least = rho * utility.reduce((a, b) => Math.min(a, b));
  return normalized(utility.map((u) => u - least));
}

function check(option: string, value: number, valid: boolean, expected: string): void {
  if (Number.isFinite(value) && valid) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    option: `mwa.${option}`,
    expected,
    found: `${value}`,
  });
}

function softmax(scores: Float64Array): Float64Array {
  const largest = scores.reduce((a, b) => Math.max(a, b));
  return normalized(scores.map((score) => Math.exp(score - largest)));
}

function normalized(parts: Float64Array): Float64Array {
  const total = parts.reduce((a, b) => a + b);
  return parts.map((part) => part / total);
}

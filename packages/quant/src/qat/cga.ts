import {
  abs,
  and,
  cast,
  floor,
  greaterOrEqual,
  lessOrEqual,
  mul,
  reduceMax,
  reduceMin,
  sub,
  type Value,
  where,
} from "@loomweight/graph";
import type { Optimizer, OptimizerCall } from "@loomweight/graph/training";
import { invalid } from "../options.ts";
import { levels, type StatsQOptions, statsqParts } from "./statsq.ts";

export interface CgaOptions {
  /** Weights at most so far from a threshold, in steps between codes, go on learning; default 0.005, below ½. */
  readonly boundaryRange?: number;
  /**
   * Which thresholds count: all of them (default), or those between codes that occur in the matrix, as the published
   * code has it: there a weight about to enter an unused code is frozen.
   */
  readonly thresholds?: "all" | "occurring";
}

/** 1 where a weight lies near a threshold between two of its codes, 0 elsewhere; the weight's shape and dtype. */
export function nearThreshold(weight: Value, options: StatsQOptions, annealing: CgaOptions = {}): Value {
  const { boundaryRange = 0.005, thresholds = "all" } = annealing;
  if (!(boundaryRange > 0 && boundaryRange < 0.5)) throw invalid("cga.boundaryRange", boundaryRange, "0 < x < 0.5");
  if (thresholds !== "all" && thresholds !== "occurring") {
    throw invalid("cga.thresholds", thresholds, "all or occurring");
  }
  const n = levels(options.bits);
  const { position, codes } = statsqParts(weight, options);
  // The threshold below a position is ⌊p − ½⌋ + ½, the one above is 1 more; the nearer of them is ⌊p⌋ + ½.
  const below = floor(position);
  const distance = abs(sub(sub(position, below), 0.5));
  const [first, last] = thresholds === "all" ? [-n, n - 2] : [reduceMin(codes), sub(reduceMax(codes), 1)];
  const counts = and(greaterOrEqual(below, first), lessOrEqual(below, last));
  return cast(and(lessOrEqual(distance, boundaryRange), counts), weight.dtype);
}

export interface AnnealOptions extends CgaOptions {
  /** Which parameters are weights on the grid, and how many bits they have; the others train as before. */
  readonly weights: Readonly<Record<string, StatsQOptions>>;
}

/**
 * Confidence-guided annealing around an optimizer: of the weights named, only those near a threshold of their grid move,
 * whatever momentum and weight decay would do to the others. For the last epochs, at a small constant rate, when the
 * codes are to settle. Source: Liu et al. 2023, arXiv:2302.02210, §4.2.
 */
export function annealed(optimizer: Optimizer, { weights, ...annealing }: AnnealOptions): Optimizer {
  return {
    ...optimizer,
    name: `annealed ${optimizer.name}`,
    update(call: OptimizerCall) {
      const near = Object.fromEntries(
        Object.entries(weights).flatMap(([name, options]): [string, Value][] =>
          call.parameters[name] === undefined ? [] : [[name, nearThreshold(call.parameters[name], options, annealing)]],
        ),
      );
      const gradients = Object.fromEntries(
        Object.entries(call.gradients).map(([name, gradient]) => [
          name,
          near[name] === undefined ? gradient : mul(gradient, near[name]),
        ]),
      );
      const next = optimizer.update({ ...call, gradients });
      const parameters = Object.fromEntries(
        Object.entries(next.parameters).map(([name, value]) => [
          name,
          near[name] === undefined ? value : where(cast(near[name], "bool"), value, call.parameters[name]),
        ]),
      );
      return { ...next, parameters };
    },
  };
}

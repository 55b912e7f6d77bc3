import {
  abs,
  add,
  clip,
  customGradient,
  div,
  equal,
  mul,
  round,
  stopGradient,
  sub,
  type Value,
  where,
} from "@loomweight/graph";
import { invalid } from "../options.ts";
import { meanPerScale, sharingOf, spreadScales } from "./along-axis.ts";
import { type CgaOptions, nearThreshold } from "./cga.ts";

export interface StatsQOptions {
  /** 2 to 8; meant for 2 to 4. */
  readonly bits: number;
  /** Axis whose places have a scale each; default 0, the rows of [out, in]. */
  readonly axis?: number;
}

/** A weight on the grid of its statistics. */
export interface StatsQ {
  /** Whole numbers from −n to n − 1, in the weight's dtype; n = 2^(bits − 1). */
  readonly codes: Value;
  /** [scales]: twice the mean magnitude. */
  readonly scale: Value;
  /** scale · (codes + ½) / n. */
  readonly dequantized: Value;
  /** Where the weight lies between codes, before rounding: thresholds are at whole numbers and a half. */
  readonly position: Value;
}

/**
 * Codes of a weight whose scale is read off its statistics, α = 2 mean|w|, at every pass: no scale is trained, so none
 * jitters. The 2^bits levels α(k + ½)/n are symmetric and none is 0. Weights beyond α are clipped (about a ninth of a
 * Gaussian's): a grid for training at 2 to 4 bits, not for rounding a finished model. A row of zeros stays 0.
 *
 * Source: Liu et al. 2023, arXiv:2302.02210. Differs: the code is held within its range instead of the weight below
 * 1 − 1e-6 alone, which float16 cannot tell from 1; rows of zeros give 0, not NaN.
 */
export function statsqParts(weight: Value, options: StatsQOptions): StatsQ {
  const n = levels(options.bits);
  const sharing = sharingOf(weight, options.axis ?? 0, "statsq");
  const scale = stopGradient(mul(meanPerScale(abs(weight), sharing), 2));
  const spread = spreadScales(scale, sharing);
  const safe = where(equal(spread, 0), 1, spread);
  const position = sub(mul(clip(div(weight, safe), -1, 1 - 1e-6), n), 0.5);
  const codes = clip(round(position), -n, n - 1);
  return { codes, scale, position, dequantized: div(mul(spread, add(codes, 0.5)), n) };
}

/**
 * The weight as its codes stand for it, in a training graph: the gradient reaches the weight as it is, the clipped parts
 * too. `annealing`: only weights near a threshold get one.
 */
export function statsq(weight: Value, options: StatsQOptions & { readonly annealing?: CgaOptions }): Value {
  const { annealing, ...own } = options;
  return customGradient(
    [weight],
    (w) => statsqParts(w, own).dequantized,
    (dy) => [annealing === undefined ? dy : mul(dy, stopGradient(nearThreshold(weight, own, annealing)))],
  );
}

/** 2^(bits − 1). Throws `INVALID_OPTION`. */
export function levels(bits: number): number {
  if (!Number.isInteger(bits) || bits < 2 || bits > 8) throw invalid("statsq.bits", bits, "a whole number from 2 to 8");
  return 2 ** (bits - 1);
}

import { LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";
import { roundHalfToEven } from "../rounding.ts";

export interface OscillationOptions {
  /** Share of a step in the moving averages; default 0.01. */
  readonly momentum?: number;
  /** Weights that oscillate more often than this share of the steps are frozen at their average code; default none are. */
  readonly freezeThreshold?: number;
}

/** Counts how often codes of a weight go back to where they came from. */
export interface OscillationTracker {
  /**
   * Takes the codes of a step and gives those that the weight should have: the same, or, where weights are frozen, the
   * rounded average of the codes before.
   */
  update(codes: Tensor): Float64Array;
  /** Oscillations of each weight. */
  readonly total: Float64Array;
  /** Moving average of each weight's oscillations. */
  readonly frequency: Float64Array;
  /** 1 or −1: the last change of each code; 0 before the first. */
  readonly direction: Float64Array;
  readonly frozen: Uint8Array;
  /** Oscillations per weight and step. */
  rate(): number;
}

/**
 * An oscillation is a change of code against the last change of the same weight. Source: Nagel et al. 2022,
 * arXiv:2203.11086, whose iterative freezing `freezeThreshold` switches on. Throws `SHAPE_MISMATCH`.
 */
export function createOscillationTracker(options: OscillationOptions = {}): OscillationTracker {
  const { momentum = 0.01, freezeThreshold = 0 } = options;
  let steps = 0;
  let previous: Float64Array | undefined;
  let average = new Float64Array();
  const state = {
    total: new Float64Array(),
    frequency: new Float64Array(),
    direction: new Float64Array(),
    frozen: new Uint8Array(),
  };
  return {
    get total() {
      return state.total;
    },
    get frequency() {
      return state.frequency;
    },
    get direction() {
      return state.direction;
    },
    get frozen() {
      return state.frozen;
    },
    update(codes) {
      const now = toFloat64(codes);
      if (previous === undefined) {
        previous = now.slice();
        average = now.slice();
        state.total = new Float64Array(now.length);
        state.frequency = new Float64Array(now.length);
        state.direction = new Float64Array(now.length);
        state.frozen = new Uint8Array(now.length);
        return now;
      }
      if (previous.length !== now.length) {
        throw new LoomweightError({
          code: "SHAPE_MISMATCH",
          problem: "codes of another weight",
          expected: `${previous.length} codes`,
          found: String(now.length),
        });
      }
      steps++;
      for (let i = 0; i < now.length; i++) {
        if (state.frozen[i] === 1) now[i] = roundHalfToEven(average[i]);
        const change = Math.sign(previous[i] - now[i]);
        const oscillates = change !== 0 && change === -state.direction[i];
        if (oscillates) state.total[i]++;
        state.frequency[i] = (1 - momentum) * state.frequency[i] + (oscillates ? momentum : 0);
        if (change !== 0) state.direction[i] = change;
        if (freezeThreshold > 0 && state.frequency[i] > freezeThreshold) state.frozen[i] = 1;
        average[i] = (1 - momentum) * average[i] + momentum * now[i];
        previous[i] = now[i];
      }
      return now;
    },
    rate: () => (steps === 0 ? 0 : state.total.reduce((sum, count) => sum + count, 0) / (steps * state.total.length)),
  };
}

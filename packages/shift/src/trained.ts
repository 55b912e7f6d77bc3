import type { Optimizer } from "@loomweight/graph/training";
import type { Random, Tensor } from "@loomweight/tensor";
import type { ShiftState } from "./define.ts";

/** Options of `tent` that are code. */
export interface TentFunctions {
  /** Default Adam. */
  readonly optimizer?: Optimizer;
}

/** State of `tent`: `parameter/…`: γ and β; `optimizer/…`; `updates` so far. */
export type TentState = ShiftState & { readonly updates: number };

/** Options of `cotta` that are code. */
export interface CottaFunctions {
  /**
   * A batch changed in ways that leave its classes as they are: a fresh draw from `random` at every call. Its gap to
   * the plain batch is all there is to learn from.
   */
  readonly augment?: (x: Tensor, random: Random) => Tensor | Promise<Tensor>;
  /** Default Adam. */
  readonly optimizer?: Optimizer;
  /** Which weights are trained and restored, by name; default: see `trainableWeights`. */
  readonly trainable?: (name: string) => boolean;
}

/** State of `cotta`: `student/…`, `teacher/…`, `optimizer/…`; `updates` so far. */
export type CottaState = ShiftState & { readonly updates: number };

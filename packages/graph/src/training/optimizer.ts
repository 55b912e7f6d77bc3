import type { Tensor } from "@loomweight/tensor";
import type { Value } from "../value.ts";

/** What an optimizer sees of one step, as values of the training graph. */
export interface OptimizerCall {
  /** dL/dp by parameter name, each of its parameter's shape. */
  readonly gradients: Readonly<Record<string, Value>>;
  readonly parameters: Readonly<Record<string, Value>>;
  /** What `init` named. */
  readonly state: Readonly<Record<string, Value>>;
  /** What `scalars` named: scalars of the parameters' dtype (float32), inputs of the graph. */
  readonly scalars: Readonly<Record<string, Value>>;
  /** What `inputs` named, inputs of the graph; absent where the optimizer has none. */
  readonly inputs?: Readonly<Record<string, Value>>;
  /** Gradients of the same loss on the same batch at other parameters, for methods that look twice (SAM). */
  gradientsAt(parameters: Readonly<Record<string, Value>>): Readonly<Record<string, Value>>;
}

/**
 * An optimizer over all parameters at once: pure functions that add the update to a graph. Its state is plain tensors
 * by name, "exp_avg/layer.0.weight", so it is saved and resumed like weights.
 */
export interface Optimizer {
  readonly name: string;
  /** State before the first step. */
  init(parameters: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>>;
  /**
   * Numbers that change from step to step (learning rate, bias corrections, momentum schedules), computed here in
   * float64 and fed as float32: no step compiles anything anew. `step` counts from 1.
   */
  scalars(step: number, learningRate: number): Readonly<Record<string, number>>;
  /**
   * Tensors that change from step to step (random bits for stochastic rounding); dtypes and shapes are those of every
   * step. Only shapes and names of `parameters` matter.
   */
  inputs?(step: number, parameters: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>>;
  update(call: OptimizerCall): {
    readonly parameters: Readonly<Record<string, Value>>;
    readonly state: Readonly<Record<string, Value>>;
  };
  /**
   * What is evaluated and saved instead of the trained parameters, where that differs: moving averages, the averaged
   * iterate of schedule-free methods. Tensors give tensors; values of a graph give values.
   */
  averaged?(call: Pick<OptimizerCall, "parameters" | "state">): Readonly<Record<string, Value>>;
}

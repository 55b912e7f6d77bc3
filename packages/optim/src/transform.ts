import type { Value } from "@loomweight/graph";
import type { Optimizer, OptimizerCall } from "@loomweight/graph/training";
import type { Tensor } from "@loomweight/tensor";

/** A step of a chain that changes gradients before the optimizer sees them: clipping, added noise. */
export interface GradientTransform extends Pick<Optimizer, "inputs"> {
  readonly name: string;
  init?(parameters: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>>;
  scalars?: Optimizer["scalars"];
  /** The new gradients; state only where `init` makes some. */
  transform(call: OptimizerCall): {
    readonly gradients: Readonly<Record<string, Value>>;
    readonly state?: Readonly<Record<string, Value>>;
  };
}

/** What a part that follows the optimizer sees: `parameters` are the new ones, `before` those of the step's start. */
export interface AfterCall extends Omit<OptimizerCall, "gradients" | "gradientsAt"> {
  readonly before: Readonly<Record<string, Value>>;
}

/** A step of a chain after the optimizer: averages of the parameters, constraints on them. */
export interface ParameterTransform extends Pick<Optimizer, "inputs" | "averaged"> {
  readonly name: string;
  init?(parameters: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>>;
  scalars?: Optimizer["scalars"];
  /** The parameters to go on with, default those given; state only where `init` makes some. */
  after(call: AfterCall): {
    readonly parameters?: Readonly<Record<string, Value>>;
    readonly state?: Readonly<Record<string, Value>>;
  };
}

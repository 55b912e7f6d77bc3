import { cast, isFloat, type Tensor } from "@loomweight/tensor";
import type { ConstantCall } from "../op.ts";
import type { Attributes, Value } from "../value.ts";

/** One use of an op that other ops can express. */
export interface DecomposedCall {
  readonly op: string;
  readonly name?: string;
  /** undefined = an optional input left out. */
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: Attributes;
  /** How many outputs are wanted. */
  readonly outputs: number;
}

/**
 * An op as ops with CPU and WebGPU kernels: how it is evaluated on constants, and what its gradient is taken of. Gives
 * at least the wanted outputs; ones that it cannot give are undefined.
 */
export type Decomposition = (call: DecomposedCall) => readonly (Value | undefined)[];

/** The evaluation of an op by its parts, in float64 and rounded once. */
export function byParts(decompose: Decomposition): (call: ConstantCall) => readonly Tensor[] {
  return (call) => {
    const inputs = call.inputs.map((each) =>
      each !== undefined && isFloat(each.dtype) ? cast(each, "float64") : each,
    );
    const results = decompose({ ...call, inputs });
    const given = results.slice(0, call.outputs);
    const missing = given.indexOf(undefined);
    return (missing < 0 ? given : given.slice(0, missing)).map((each, index) => {
      const { dtype } = call.types[index];
      return each?.dtype === dtype ? (each as Tensor) : cast(each as Tensor, dtype);
    });
  };
}

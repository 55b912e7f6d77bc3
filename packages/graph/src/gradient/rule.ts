import type { Attributes, GraphValue, Value } from "../value.ts";

/** One node on the way back: what its gradient rule sees. */
export interface GradientCall {
  readonly op: string;
  readonly domain: string;
  /** Name of the node, for messages. */
  readonly name?: string;
  readonly attributes: Attributes;
  /** undefined = an optional input left out. */
  readonly inputs: readonly (Value | undefined)[];
  /** What the bodies of the node take from around them, by name. Their gradients follow those of the inputs. */
  readonly captures?: Readonly<Record<string, Value>>;
  readonly outputs: readonly GraphValue[];
  /** dL/dy of each output, of its shape and dtype; undefined where the loss does not depend on it. At least one is given. */
  readonly upstream: readonly (Value | undefined)[];
  /** Which inputs, and then captures, need a gradient; a rule may leave the others out. */
  readonly wants: readonly boolean[];
}

/**
 * dL/dx for each input, of its shape and dtype; undefined = none. Built from op functions that have CPU and WebGPU
 * kernels, so a gradient can be differentiated again and runs wherever the forward graph runs.
 */
export type GradientRule = (call: GradientCall) => readonly (Value | undefined)[];

export type GradientTable = Readonly<Record<string, GradientRule>>;

/** A table of rules by the names of their ops. */
export function defineGradients<K extends string>(
  rows: Readonly<Record<K, GradientRule>>,
): Readonly<Record<K, GradientRule>> {
  return rows;
}

/** The rule of ops whose outputs are constant between jumps, or no floats: nothing flows back. */
export const noGradient: GradientRule = () => [];

/** Input `index` of a call whose op always has it. */
export function operand(call: GradientCall, index: number): Value {
  return call.inputs[index] as Value;
}

/** What rules of ops y = f(x) see. */
export interface UnaryCall {
  readonly x: Value;
  readonly y: Value;
  readonly dy: Value;
  readonly call: GradientCall;
}

/** Rule of an op with one differentiable input, the first, and one output. */
export function unary(grad: (call: UnaryCall) => Value | undefined): GradientRule {
  return (call) => {
    const [dy] = call.upstream;
    return dy === undefined ? [] : [grad({ x: operand(call, 0), y: call.outputs[0], dy, call })];
  };
}

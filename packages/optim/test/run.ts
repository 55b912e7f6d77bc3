import type { Value } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { type DType, type Tensor, tensor } from "@loomweight/tensor";

export type Tensors = Record<string, Tensor>;

/** Scalars of a step as tensors. */
export function scalarTensors(optimizer: Optimizer, step: number, learningRate: number, dtype: DType): Tensors {
  return Object.fromEntries(
    Object.entries(optimizer.scalars(step, learningRate)).map(([name, value]) => [name, tensor([value], [], dtype)]),
  );
}

/** One step on tensors: everything is evaluated at once, in the parameters' dtype. */
export function stepOnTensors(
  optimizer: Optimizer,
  at: { parameters: Tensors; state: Tensors },
  gradients: Tensors,
  { step, learningRate }: { step: number; learningRate: number },
  gradientsAt: (parameters: Readonly<Record<string, Value>>) => Readonly<Record<string, Value>> = () => gradients,
): { parameters: Tensors; state: Tensors } {
  const dtype = Object.values(at.parameters)[0].dtype;
  const result = optimizer.update({
    ...at,
    gradients,
    scalars: scalarTensors(optimizer, step, learningRate, dtype),
    ...(optimizer.inputs && { inputs: optimizer.inputs(step, at.parameters) }),
    gradientsAt,
  });
  return { parameters: result.parameters as Tensors, state: result.state as Tensors };
}

/** Runs an optimizer over a list of gradients; the parameters after each step. */
export function runSteps(
  optimizer: Optimizer,
  initial: Tensors,
  gradients: readonly Tensors[],
  learningRate: number | ((step: number) => number),
): { parameters: Tensors; state: Tensors }[] {
  let at = { parameters: initial, state: { ...optimizer.init(initial) } };
  return gradients.map((each, index) => {
    const step = index + 1;
    const rate = typeof learningRate === "number" ? learningRate : learningRate(step);
    at = stepOnTensors(optimizer, at, each, { step, learningRate: rate });
    return at;
  });
}

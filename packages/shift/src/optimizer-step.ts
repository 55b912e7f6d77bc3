import { type GraphValue, gradient, input, stateValue, type Value } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { scalar, type Tensor } from "@loomweight/tensor";

const scalarPrefix = "scalar/";
const inputPrefix = "optimizer input/";

/** Tensors with a prefix before their names. */
export function prefixed<T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value]));
}

/** Values of the runtime's state for these tensors: "student/fc.weight" by "fc.weight". */
export function stateValuesOf(prefix: string, tensors: Readonly<Record<string, Tensor>>): Record<string, GraphValue> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape }]) => [name, stateValue(`${prefix}${name}`, dtype, shape)]),
  );
}

/** One update of an optimizer as values of a graph. */
export interface OptimizerStep {
  readonly loss: Value;
  readonly gradients: Readonly<Record<string, Value>>;
  readonly parameters: Readonly<Record<string, Value>>;
  readonly state: Readonly<Record<string, Value>>;
  /** Inputs that `optimizerFeeds` feeds. */
  readonly inputs: readonly GraphValue[];
}

/** Adds loss, gradients and update to a graph. `types`: tensors of the parameters' and the optimizer's dtype and shape. */
export function placeOptimizerStep(call: {
  readonly optimizer: Optimizer;
  readonly parameters: Readonly<Record<string, GraphValue>>;
  readonly state: Readonly<Record<string, GraphValue>>;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly loss: (parameters: Readonly<Record<string, Value>>) => Value;
}): OptimizerStep {
  const { optimizer, parameters, state, tensors, loss: lossAt } = call;
  const dtype = Object.values(parameters)[0].dtype;
  const scalars = Object.fromEntries(
    Object.keys(optimizer.scalars(1, 1)).map((name) => [name, input(`${scalarPrefix}${name}`, dtype, [])]),
  );
  const inputs = Object.fromEntries(
    Object.entries(optimizer.inputs?.(1, tensors) ?? {}).map(([name, { dtype: own, shape }]) => [
      name,
      input(`${inputPrefix}${name}`, own, shape),
    ]),
  );
  const gradientsAt = (at: Readonly<Record<string, Value>>) => gradient(lossAt(at), at as Record<string, Value>);
  const loss = lossAt(parameters);
  const gradients = gradient(loss, parameters as Record<string, Value>);
  const next = optimizer.update({ gradients, parameters, state, scalars, inputs, gradientsAt });
  return {
    loss,
    gradients,
    parameters: next.parameters,
    state: next.state,
    inputs: [...Object.values(scalars), ...Object.values(inputs)],
  };
}

/** What the optimizer is fed at step `step`, from 1. */
export function optimizerFeeds(
  optimizer: Optimizer,
  step: number,
  learningRate: number,
  tensors: Readonly<Record<string, Tensor>>,
): Record<string, Tensor> {
  const wide = Object.values(tensors)[0].dtype === "float64";
  const scalars = Object.entries(optimizer.scalars(step, learningRate)).map(([name, value]): [string, Tensor] => [
    `${scalarPrefix}${name}`,
    scalar(value, wide ? "float64" : "float32"),
  ]);
  return { ...Object.fromEntries(scalars), ...prefixed(inputPrefix, optimizer.inputs?.(step, tensors) ?? {}) };
}

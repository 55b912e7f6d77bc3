import { assemble, encodeOnnx, type GraphValue, input, type OnnxModel, type Value } from "@loomweight/graph";
import { openSession, type SessionOptions } from "@loomweight/graph/node";
import type { Optimizer } from "@loomweight/graph/training";
import type { Tensor } from "@loomweight/tensor";
import { scalarTensors, type Tensors } from "./run.ts";

/** Gradients of the traces do not depend on the parameters: asking for them elsewhere is a fault of the test. */
function noGradientsAt(): never {
  throw new Error("this test has no loss");
}

const inputsLike = (prefix: string, tensors: Readonly<Record<string, Tensor>>): Record<string, GraphValue> =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape }]) => [name, input(`${prefix}${name}`, dtype, shape)]),
  );

const prefixed = <T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]));

const unprefixed = (prefix: string, values: Tensors): Tensors =>
  Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
    ),
  );

/** One step of an optimizer as a model: parameters, gradients, state, scalars in; new parameters and state out. */
export function stepModel(
  optimizer: Optimizer,
  parameters: Tensors,
  gradientsAt: (at: Readonly<Record<string, Value>>) => Readonly<Record<string, Value>> = noGradientsAt,
): OnnxModel {
  const inputs = {
    parameters: inputsLike("parameter:", parameters),
    gradients: inputsLike("gradient:", parameters),
    state: inputsLike("state:", optimizer.init(parameters)),
    scalars: inputsLike("scalar:", scalarTensors(optimizer, 1, 1, "float32")),
    ...(optimizer.inputs && { inputs: inputsLike("input:", optimizer.inputs(1, parameters)) }),
  };
  const result = optimizer.update({ ...inputs, gradientsAt });
  return assemble({
    name: optimizer.name,
    inputs: Object.values(inputs).flatMap((each) => Object.values(each)),
    outputs: { ...prefixed("new parameter:", result.parameters), ...prefixed("new state:", result.state) },
  });
}

/** Runs an optimizer over a list of gradients as one compiled float32 graph of onnxruntime. */
export async function runCompiled(
  optimizer: Optimizer,
  initial: Tensors,
  gradients: readonly Tensors[],
  learningRate: number,
  options: SessionOptions = { threads: 1 },
): Promise<{ parameters: Tensors; state: Tensors }[]> {
  const session = await openSession(await encodeOnnx(stepModel(optimizer, initial)), options);
  const declared = new Set(session.inputs.map(({ name }) => name));
  const results: { parameters: Tensors; state: Tensors }[] = [];
  let at: { parameters: Tensors; state: Tensors } = { parameters: initial, state: { ...optimizer.init(initial) } };
  for (const [index, each] of gradients.entries()) {
    const feeds = {
      ...prefixed("parameter:", at.parameters),
      ...prefixed("gradient:", each),
      ...prefixed("state:", at.state),
      ...prefixed("scalar:", scalarTensors(optimizer, index + 1, learningRate, "float32")),
      ...prefixed("input:", optimizer.inputs?.(index + 1, initial) ?? {}),
    };
    const outputs = await session.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => declared.has(name))));
    at = { parameters: unprefixed("new parameter:", outputs), state: unprefixed("new state:", outputs) };
    results.push(at);
  }
  await session.close();
  return results;
}

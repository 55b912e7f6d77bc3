import { type GraphValue, input, type Runtime, stateValue } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import type { Tensor } from "@loomweight/tensor";
import { scalarTensors, type Tensors } from "./run.ts";

const prefixed = <T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]));

const mapped = <A, B>(values: Readonly<Record<string, A>>, change: (value: A, name: string) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value, name)]));

/** Runs an optimizer over a list of gradients with parameters and state held by a runtime; both after the last step. */
export async function runInRuntime(
  runtime: Runtime,
  optimizer: Optimizer,
  initial: Tensors,
  gradients: readonly Tensors[],
  learningRate: number,
): Promise<{ parameters: Tensors; state: Tensors }> {
  const own = optimizer.init(initial);
  const inputs = (prefix: string, tensors: Readonly<Record<string, Tensor>>) =>
    mapped(tensors, ({ dtype, shape }, name): GraphValue => input(prefix + name, dtype, shape));
  const call = {
    parameters: mapped(initial, ({ dtype, shape }, name) => stateValue(name, dtype, shape)),
    state: mapped(own, ({ dtype, shape }, name) => stateValue(`state:${name}`, dtype, shape)),
    gradients: inputs("gradient:", initial),
    scalars: inputs("scalar:", scalarTensors(optimizer, 1, learningRate, "float32")),
    inputs: inputs("input:", optimizer.inputs?.(1, initial) ?? {}),
  };
  const next = optimizer.update({ ...call, gradientsAt: () => call.gradients });
  const state = await runtime.state({ ...initial, ...prefixed("state:", own) });
  const program = await runtime.compile({ update: { ...next.parameters, ...prefixed("state:", next.state) } }, state);
  const wanted = new Set(program.inputs.map(({ name }) => name));
  for (const [index, each] of gradients.entries()) {
    const feeds = {
      ...prefixed("gradient:", each),
      ...prefixed("scalar:", scalarTensors(optimizer, index + 1, learningRate, "float32")),
      ...prefixed("input:", optimizer.inputs?.(index + 1, initial) ?? {}),
    };
    await program.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => wanted.has(name))));
  }
  const read = await state.read();
  await program.close();
  await state.close();
  return {
    parameters: mapped(initial, (_, name) => read[name]),
    state: mapped(own, (_, name) => read[`state:${name}`]),
  };
}

import { assemble, encodeOnnx, type GraphValue, input, type OnnxModel, type Value } from "@loomweight/graph";
import { openSession, type SessionOptions } from "@loomweight/graph/node";
import type { Optimizer } from "@loomweight/graph/training";
import type { Tensor } from "@loomweight/tensor";
import { scalarTensors, type Tensors } from "./run.ts";

type Values = Readonly<Record<string, Value>>;

/** What a compiled step is fed beside parameters, state, scalars and inputs of the optimizer. */
export interface StepSource {
  /** Inputs that the gradients are computed from; without `gradientsAt` they are the gradients themselves. */
  readonly data: Readonly<Record<string, GraphValue>>;
  /** Gradients at given parameters, as nodes over `data`. */
  readonly gradientsAt?: (parameters: Values) => Values;
}

export interface At {
  readonly parameters: Tensors;
  readonly state: Tensors;
}

export interface CompiledStep {
  step(at: At, data: Tensors, when: { step: number; learningRate: number }): Promise<At>;
  close(): Promise<void>;
}

/** Gradients of recorded streams do not depend on the parameters: asking for them elsewhere is a fault of the test. */
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

/** One step of an optimizer as a model: parameters, data, state, scalars in; new parameters and state out. */
export function stepModel(optimizer: Optimizer, parameters: Tensors, source: StepSource): OnnxModel {
  const values = inputsLike("parameter:", parameters);
  const inputs = {
    state: inputsLike("state:", optimizer.init(parameters)),
    scalars: inputsLike("scalar:", scalarTensors(optimizer, 1, 1, "float32")),
    ...(optimizer.inputs && { inputs: inputsLike("input:", optimizer.inputs(1, parameters)) }),
  };
  const result = optimizer.update({
    ...inputs,
    parameters: values,
    gradients: source.gradientsAt?.(values) ?? source.data,
    gradientsAt: source.gradientsAt ?? noGradientsAt,
  });
  return assemble({
    name: "step",
    inputs: [values, source.data, ...Object.values(inputs)].flatMap((each) => Object.values(each)),
    outputs: { ...prefixed("new parameter:", result.parameters), ...prefixed("new state:", result.state) },
  });
}

/** A step compiled by onnxruntime; one graph for all steps. */
export async function compileStep(
  optimizer: Optimizer,
  parameters: Tensors,
  source: StepSource = { data: inputsLike("", parameters) },
  options: SessionOptions = { threads: 1 },
): Promise<CompiledStep> {
  const session = await openSession(await encodeOnnx(stepModel(optimizer, parameters, source)), options);
  const dataNames = Object.fromEntries(Object.entries(source.data).map(([key, { name = key }]) => [key, name]));
  return {
    async step(at, data, { step, learningRate }) {
      const outputs = await session.run({
        ...prefixed("parameter:", at.parameters),
        ...Object.fromEntries(Object.entries(data).map(([key, tensor]) => [dataNames[key], tensor])),
        ...prefixed("state:", at.state),
        ...prefixed("scalar:", scalarTensors(optimizer, step, learningRate, "float32")),
        ...prefixed("input:", optimizer.inputs?.(step, parameters) ?? {}),
      });
      return { parameters: unprefixed("new parameter:", outputs), state: unprefixed("new state:", outputs) };
    },
    close: () => session.close(),
  };
}

/** Runs an optimizer over a list of gradients as one compiled float32 graph. */
export async function runCompiled(
  optimizer: Optimizer,
  initial: Tensors,
  gradients: readonly Tensors[],
  learningRate: number,
): Promise<At[]> {
  const data = inputsLike("gradient:", initial);
  const compiled = await compileStep(optimizer, initial, { data });
  const results: At[] = [];
  let at: At = { parameters: initial, state: { ...optimizer.init(initial) } };
  for (const [index, each] of gradients.entries()) {
    at = await compiled.step(at, each, { step: index + 1, learningRate });
    results.push(at);
  }
  await compiled.close();
  return results;
}

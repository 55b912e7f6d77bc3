import { input } from "@loomweight/graph";
import {
  equal,
  fromData,
  LoomweightError,
  type OptionSpecs,
  type OptionValues,
  type Tensor,
  tensor,
  toFloat64,
} from "@loomweight/tensor";
import { expect, test } from "vitest";
import type { OptimizerMethod } from "../src/define.ts";
import { stepModel } from "./compiled.ts";
import { runSteps, stepOnTensors, type Tensors } from "./run.ts";
import { wave } from "./wave.ts";

/** The laws of optimizers, by name. */
export type Law =
  | "a learning rate of 0 leaves the parameters bit by bit"
  | "entries do not depend on one another"
  | "takes vectors";

export interface ContractOptions<S extends OptionSpecs> {
  /** Options to test with; default none. */
  readonly options?: Partial<OptionValues<S>>;
  /** Learning rate of the descent; default the method's own. */
  readonly learningRate?: number;
}

/** Operators that onnxruntime has CPU and WebGPU kernels for, as far as optimizers need them. */
const allowedOps = new Set(
  "Add Sub Mul Div Sqrt Abs Neg Pow Max Min Clip Greater Less Where Cast Identity ReduceSum ReduceMean ReduceMax ReduceL1 ReduceL2 ReduceSumSquare MatMul Transpose Reshape".split(
    " ",
  ),
);

/**
 * Tests what holds for every optimizer. A law that does not apply is skipped with its reason:
 * `optimizerContract(lamb, { "entries do not depend on one another": "steps are scaled by the tensor's norm" })`.
 */
export function optimizerContract<S extends OptionSpecs>(
  method: OptimizerMethod<S>,
  skipped: Partial<Record<Law, string>> = {},
  { options = {}, learningRate = method.learningRate }: ContractOptions<S> = {},
): void {
  const make = () => method(options);
  const vectors = skipped["takes vectors"] === undefined;
  const law = (name: Law, body: () => void) => {
    const reason = skipped[name];
    if (reason === undefined) test(`${method.name}: ${name}`, body);
    else test(`${method.name}: ${name}`, (context) => context.skip(reason));
  };
  const start = (): Tensors => ({
    weight: tensor([1, -2, 0.5, 3, -0.25, 0.75], [2, 3], "float64"),
    ...(vectors && { bias: tensor([0.5, -1], [2], "float64") }),
  });
  const gradients = (count: number, seed = 1): Tensors[] =>
    Array.from({ length: count }, (_, t) =>
      Object.fromEntries(
        Object.entries(start()).map(([name, { shape }]) => [name, wave(shape, seed + t + name.length)]),
      ),
    );

  law("a learning rate of 0 leaves the parameters bit by bit", () => {
    const last = runSteps(make(), start(), gradients(3), 0)[2];
    for (const [name, value] of Object.entries(start())) expect(equal(last.parameters[name], value), name).toBe(true);
  });

  law("entries do not depend on one another", () => {
    const whole = runSteps(make(), start(), gradients(3), learningRate)[2].parameters;
    const row = (value: Tensor, index: number) =>
      fromData("float64", toFloat64(value).slice(3 * index, 3 * index + 3), [1, 3]);
    const split = (all: Tensors): Tensors => ({ first: row(all.weight, 0), second: row(all.weight, 1) });
    const parts = runSteps(make(), split(start()), gradients(3).map(split), learningRate)[2].parameters;
    expect([...toFloat64(parts.first), ...toFloat64(parts.second)]).toEqual([...toFloat64(whole.weight)]);
  });

  test(`${method.name}: tensors do not depend on one another or on their order`, () => {
    const whole = runSteps(make(), start(), gradients(3), learningRate)[2].parameters;
    for (const name of Object.keys(start())) {
      const own = (all: Tensors): Tensors => ({ [name]: all[name] });
      const alone = runSteps(make(), own(start()), gradients(3).map(own), learningRate)[2].parameters;
      expect(equal(alone[name], whole[name]), name).toBe(true);
    }
  });

  test(`${method.name}: a run goes on from saved state as if it had not stopped`, () => {
    const all = gradients(5);
    const whole = runSteps(make(), start(), all, learningRate);
    let at = structuredClone(whole[1]);
    const optimizer = make(); // another process has another object
    for (let step = 3; step <= 5; step++) at = stepOnTensors(optimizer, at, all[step - 1], { step, learningRate });
    for (const [name, value] of Object.entries(whole[4].parameters))
      expect(equal(at.parameters[name], value)).toBe(true);
    for (const [name, value] of Object.entries(whole[4].state)) expect(equal(at.state[name], value), name).toBe(true);
  });

  test(`${method.name}: a parameter without gradient stays, and its state`, () => {
    const parameters = { ...start(), frozen: tensor([[7, 8]], [1, 2], "float64") };
    const steps = runSteps(make(), parameters, gradients(2), learningRate);
    expect(equal(steps[1].parameters.frozen, parameters.frozen)).toBe(true);
    const before = make().init(parameters);
    for (const [key, value] of Object.entries(before)) {
      if (key.endsWith("/frozen")) expect(equal(steps[1].state[key], value), key).toBe(true);
    }
    expect(Object.keys(steps[1].state).sort()).toEqual(Object.keys(before).sort());
  });

  test(`${method.name}: goes downhill`, () => {
    for (const seed of [1, 2]) {
      const goal = toFloat64(wave([2, 3], seed));
      const loss = (weight: Tensor) => toFloat64(weight).reduce((sum, value, i) => sum + (value - goal[i]) ** 2 / 2, 0);
      const optimizer = make();
      const initial = { weight: start().weight };
      let at: { parameters: Tensors; state: Tensors } = { parameters: initial, state: { ...optimizer.init(initial) } };
      for (let step = 1; step <= 20; step++) {
        const slope = toFloat64(at.parameters.weight).map((value, i) => value - goal[i]);
        at = stepOnTensors(optimizer, at, { weight: fromData("float64", slope, [2, 3]) }, { step, learningRate });
      }
      const averaged = optimizer.averaged?.(at) ?? at.parameters;
      expect(loss(averaged.weight as Tensor)).toBeLessThan(loss(initial.weight));
    }
  });

  test(`${method.name}: its graph uses only operators with CPU and WebGPU kernels`, () => {
    const parameters = Object.fromEntries(
      Object.entries(start()).map(([name, { shape }]) => [name, wave(shape, 1, "float32")]),
    );
    const data = Object.fromEntries(
      Object.entries(parameters).map(([name, { shape }]) => [name, input(`gradient:${name}`, "float32", shape)]),
    );
    const ops = stepModel(make(), parameters, { data }).graph.nodes.map(({ op }) => op);
    expect(ops.filter((op) => !allowedOps.has(op))).toEqual([]);
  });

  test(`${method.name}: unknown options and integer parameters are refused by name`, () => {
    expect(() => method({ learningrate: 1 } as never)).toThrow(LoomweightError);
    const whole = { weight: tensor([1, 2], [1, 2], "int32") };
    expect(() => make().init(whole)).toThrow(/"?weight"?/);
  });
}

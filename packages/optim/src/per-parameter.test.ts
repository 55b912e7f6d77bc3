import { mul, sub } from "@loomweight/graph";
import { equal, tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { runSteps } from "../test/run.ts";
import { wave } from "../test/wave.ts";
import { groups } from "./groups.ts";
import { adamw } from "./methods/adamw.ts";
import { optimizers } from "./optimizer-list.ts";
import { isMatrix } from "./pattern.ts";
import { perParameter } from "./per-parameter.ts";

test("an optimizer of one's own is a rule for one parameter; names may hold slashes", () => {
  const halving = perParameter("halving", {
    init: (parameter) => ({ last: parameter }),
    scalars: (_, learningRate) => ({ learningRate }),
    update: ({ name, shape, gradient, parameter, state, scalars }) => {
      expect([name, shape]).toEqual(["a/b", [2]]);
      expect(equal(state.last as never, initial["a/b"])).toBe(true);
      return { parameter: sub(parameter, mul(gradient, scalars.learningRate)), state: { last: parameter } };
    },
  });
  const initial = { "a/b": tensor([1, 2], [2], "float64") };
  const [{ parameters, state }] = runSteps(halving, initial, [{ "a/b": tensor([1, 1], [2], "float64") }], 0.5);
  expect([...parameters["a/b"].data]).toEqual([0.5, 1.5]);
  expect(Object.keys(state)).toEqual(["last/a/b"]);
});

test("scalars, vectors and long chains of axes are stepped by every optimizer without NaN", () => {
  const initial = { scalar: wave([], 1), vector: wave([1], 2), five: wave([2, 1, 2, 1, 2], 3) };
  const gradients = [1, 2].map((t) =>
    Object.fromEntries(Object.entries(initial).map(([name, { shape }]) => [name, wave(shape, t)])),
  );
  for (const method of optimizers) {
    const optimizer =
      method.name === "muon" ? groups([{ parameters: isMatrix, optimizer: method() }], adamw()) : method();
    const { parameters } = runSteps(optimizer, initial, gradients, method.learningRate)[1];
    for (const [name, value] of Object.entries(parameters)) {
      expect(value.shape, `${method.name} ${name}`).toEqual(initial[name as keyof typeof initial].shape);
      expect([...(value.data as Float64Array)].every(Number.isFinite), `${method.name} ${name}`).toBe(true);
    }
  }
});

test("gradients of zero move nothing but by decay, and leave no NaN, from the first step on", () => {
  const initial = { p: wave([2, 2], 1, "float32") };
  const zero = {
    p: tensor([
      [0, 0],
      [0, 0],
    ]),
  };
  for (const method of optimizers) {
    const { parameters } = runSteps(method(), initial, [zero, zero], method.learningRate)[1];
    expect([...(parameters.p.data as Float32Array)].every(Number.isFinite), method.name).toBe(true);
  }
});

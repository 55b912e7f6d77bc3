import { createRuntime } from "@loomweight/graph/node";
import { cast, equal, expectClose, fromData, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { runSteps } from "../test/run.ts";
import { runInRuntime } from "../test/runtime-run.ts";
import { wave } from "../test/wave.ts";
import { bfloat16State } from "./bfloat16-state.ts";
import { adamw } from "./methods/adamw.ts";
import { rprop } from "./methods/rprop.ts";
import { stochasticRound } from "./stochastic-round.ts";

const round = (x: number, noise: number) => toFloat64(stochasticRound(tensor([x]), tensor([noise])) as Tensor)[0];

test("a value between two of bfloat16 goes up with the probability of its distance", () => {
  // Around 1 the spacing is 2^-7; 1 + 2^-9 lies at a quarter.
  const x = 1 + 2 ** -9;
  expect([0, 0.2499, 0.25, 0.9].map((noise) => round(x, noise))).toEqual([1 + 2 ** -7, 1 + 2 ** -7, 1, 1]);
  expect([0, 0.2499, 0.25, 0.9].map((noise) => round(-x, noise))).toEqual([-1 - 2 ** -7, -1 - 2 ** -7, -1, -1]);
  // Below a power of two the spacing halves: 1 − 2^-10 lies three quarters of the way from 1 − 2^-8 to 1.
  expect([0.7499, 0.75].map((noise) => round(1 - 2 ** -10, noise))).toEqual([1, 1 - 2 ** -8]);
});

test("what bfloat16 holds stays, for any noise and size", () => {
  const values = [0, 1, -1, 1.0078125, 0.99609375, 255, -3.140625, 2 ** -100, 2 ** 100, Number.POSITIVE_INFINITY];
  for (const value of values) for (const noise of [0, 0.5, 1 - 2 ** -24]) expect(round(value, noise)).toBe(value);
});

test("the two neighbours are those of rounding down and up, for a thousand values", () => {
  const values = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i) * 2 ** ((i % 60) - 30));
  const x = fromData("float32", values, [1000]);
  const at = (noise: number) =>
    toFloat64(stochasticRound(x, fromData("float32", new Float32Array(1000).fill(noise), [1000])) as Tensor);
  const [up, down, nearest] = [at(0), at(1 - 2 ** -24), toFloat64(cast(x, "bfloat16"))];
  for (const [i, value] of toFloat64(x).entries()) {
    expect(Math.abs(down[i])).toBeLessThanOrEqual(Math.abs(value));
    expect(Math.abs(up[i])).toBeGreaterThanOrEqual(Math.abs(value));
    expect([up[i], down[i]]).toContain(nearest[i]);
  }
});

test("the mean is kept: small additions are not lost as they are when rounding to the nearest", () => {
  const size = 4000;
  const gradient = fromData("float32", new Float32Array(size).fill(1), [size]);
  const initial = { p: fromData("float32", new Float32Array(size), [size]) };
  const optimizer = bfloat16State(adamw({ beta1: 0.9, beta2: 0.999 }), { seed: 7 });
  const steps = runSteps(
    optimizer,
    initial,
    Array.from({ length: 30 }, () => ({ p: gradient })),
    1e-3,
  );
  const second = steps[29].state["exp_avg_sq/p"];
  expect(second.dtype).toBe("bfloat16");
  const mean = toFloat64(second).reduce((sum, value) => sum + value, 0) / size;
  expect(Math.abs(mean / (1 - 0.999 ** 30) - 1)).toBeLessThan(2e-3);
});

test("seed, step and name decide the noise; two runs are equal, two seeds are not", () => {
  const initial = { a: wave([40], 1, "float32"), b: wave([40], 1, "float32") };
  const gradients = Array.from({ length: 3 }, (_, t) => ({ a: wave([40], t, "float32"), b: wave([40], t, "float32") }));
  const run = (seed: number) => runSteps(bfloat16State(adamw(), { seed }), initial, gradients, 0.01)[2].state;
  const [first, again, other] = [run(1), run(1), run(2)];
  expect(equal(first["exp_avg/a"], again["exp_avg/a"])).toBe(true);
  expect(equal(first["exp_avg/a"], other["exp_avg/a"])).toBe(false);
  expect(equal(first["exp_avg/a"], first["exp_avg/b"])).toBe(false); // the same numbers, other noise
});

test("onnxruntime keeps the state in bfloat16 and rounds to the same bits", async () => {
  const optimizer = bfloat16State(adamw(), { seed: 3 });
  const initial = { w: wave([20, 3], 1, "float32") };
  const gradients = Array.from({ length: 3 }, (_, t) => ({ w: wave([20, 3], t, "float32") }));
  const here = runSteps(optimizer, initial, gradients, 0.01)[2];
  const runtime = await createRuntime({ threads: 1 });
  const there = await runInRuntime(runtime, optimizer, initial, gradients, 0.01);
  await runtime.close();
  for (const key of ["exp_avg/w", "exp_avg_sq/w"]) {
    expect(there.state[key].dtype).toBe("bfloat16");
    const [a, b] = [toFloat64(here.state[key]), toFloat64(there.state[key])];
    const different = a.filter((value, i) => value !== b[i]).length;
    expect(different).toBeLessThanOrEqual(2); // a float32 that differs in its last bit may fall on the other side
  }
  expectClose(there.parameters.w, here.parameters.w, 1e-4);
});

test("an optimizer without averages is refused with the slots it has", () => {
  expect(() => bfloat16State(rprop()).init({ p: tensor([1]) })).toThrow(/prev, step_size/);
});

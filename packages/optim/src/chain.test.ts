import { expectClose, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { runCompiled } from "../test/compiled.ts";
import { runSteps } from "../test/run.ts";
import { wave } from "../test/wave.ts";
import { chain } from "./chain.ts";
import { clipByGlobalNorm } from "./clip-by-global-norm.ts";
import { clipByValue } from "./clip-by-value.ts";
import { ema } from "./ema.ts";
import { lookahead } from "./lookahead.ts";
import { maximize } from "./maximize.ts";
import { adamw } from "./methods/adamw.ts";
import { sgd } from "./methods/sgd.ts";
import { sam } from "./sam.ts";
import { swa } from "./swa.ts";

const vector = (...numbers: number[]) => tensor(numbers, [numbers.length], "float64");

test("gradients are clipped to a global norm before the step: 13 to 5", () => {
  const initial = { a: vector(0, 0), b: vector(0) };
  const gradients = [{ a: vector(3, 4), b: vector(12) }];
  const [{ parameters }] = runSteps(chain(clipByGlobalNorm(5, { epsilon: 0 }), sgd()), initial, gradients, 1);
  expectClose(parameters.a, vector(-15 / 13, -20 / 13), 1e-12);
  expectClose(parameters.b, vector(-60 / 13), 1e-12);
});

test("parts apply in order: clipping by value before or after turning signs gives the same, twice turned is not", () => {
  const initial = { p: vector(1, 1) };
  const gradients = [{ p: vector(3, -0.5) }];
  const first = runSteps(chain(clipByValue(1), maximize(), sgd()), initial, gradients, 1)[0].parameters.p;
  expectClose(first, vector(2, 0.5), 1e-15);
  const twice = runSteps(chain(maximize(), maximize(), sgd()), initial, gradients, 1)[0].parameters.p;
  expectClose(twice, vector(-2, 1.5), 1e-15);
});

test("averages of the parameters: the card's numbers, with and without warm-up", () => {
  // Gradients that move p by +1 at each step: 1, then 2, 3, 4.
  const gradients = Array.from({ length: 3 }, () => ({ p: vector(-1) }));
  const values = (options: Parameters<typeof ema>[0]) =>
    runSteps(chain(sgd(), ema(options)), { p: vector(1) }, gradients, 1).map(
      ({ state }) => toFloat64(state["ema/p"])[0],
    );
  expectClose(vector(...values({ decay: 0.9 })), vector(1.1, 1.29, 1.561), 1e-12);
  expectClose(vector(...values({ decay: 0.9, warmup: true })), vector(1.81818, 2.70455, 3.6014), 1e-5);
});

test("swa is the mean of every second iterate from its start on", () => {
  const gradients = Array.from({ length: 6 }, () => ({ p: vector(-1) }));
  const optimizer = chain(sgd(), swa({ start: 2, every: 2 }));
  const steps = runSteps(optimizer, { p: vector(0) }, gradients, 1);
  const averages = steps.map((at) => toFloat64(optimizer.averaged?.(at).p as Tensor)[0]);
  expect(averages).toEqual([0, 2, 2, 3, 3, 4]);
});

test("lookahead goes half the way every third step, by hand", () => {
  const gradients = Array.from({ length: 4 }, () => ({ p: vector(-1) }));
  const steps = runSteps(chain(sgd(), lookahead({ every: 3, alpha: 0.5 })), { p: vector(0) }, gradients, 1);
  expect(steps.map(({ parameters }) => toFloat64(parameters.p)[0])).toEqual([1, 2, 1.5, 2.5]);
  expect(steps.map(({ state }) => toFloat64(state["slow/p"])[0])).toEqual([0, 0, 1.5, 1.5]);
});

test("sam without distance is the optimizer alone; its first step by hand", () => {
  const initial = { p: vector(1, 1) };
  // ½ (x² + 10 y²)
  const gradientsAt = ({ p }: Readonly<Record<string, unknown>>) => {
    const [x, y] = toFloat64(p as Tensor);
    return { p: vector(x, 10 * y) };
  };
  const step = (rho: number) => {
    const optimizer = sam(sgd(), { rho });
    const scalars = { learningRate: tensor([0.01], [], "float64"), momentum: vector(0), share: vector(1) };
    const call = { parameters: initial, gradients: gradientsAt(initial), state: {}, scalars, gradientsAt };
    return optimizer.update(call).parameters.p as Tensor;
  };
  expectClose(step(0.05), vector(0.98995, 0.895025), 1e-6);
  expectClose(step(0), vector(0.99, 0.9), 1e-12);
});

test("clipping before sam applies to both looks at the gradients", () => {
  const initial = { p: vector(1, 1) };
  const gradientsAt = () => ({ p: vector(30, 40) });
  const optimizer = chain(clipByGlobalNorm(1, { epsilon: 0 }), sam(sgd()));
  const scalars = Object.fromEntries(
    Object.entries(optimizer.scalars(1, 1)).map(([name, value]) => [name, tensor([value], [], "float64")]),
  );
  const { parameters } = optimizer.update({
    parameters: initial,
    gradients: gradientsAt(),
    state: {},
    scalars,
    gradientsAt,
  });
  expectClose(parameters.p as Tensor, vector(0.4, 0.2), 1e-12);
});

test("a long chain is one graph that gives what the tensors give", async () => {
  const optimizer = chain(clipByGlobalNorm(1), adamw(), lookahead({ every: 2 }), ema({ decay: 0.9 }));
  const initial = { w: wave([3, 2], 1, "float32"), b: wave([2], 2, "float32") };
  const gradients = Array.from({ length: 4 }, (_, t) => ({
    w: wave([3, 2], t, "float32"),
    b: wave([2], t + 1, "float32"),
  }));
  const [here, there] = [
    runSteps(optimizer, initial, gradients, 0.1),
    await runCompiled(optimizer, initial, gradients, 0.1),
  ];
  for (const [name, value] of Object.entries(here[3].parameters)) expectClose(there[3].parameters[name], value, 1e-6);
  for (const [name, value] of Object.entries(here[3].state)) expectClose(there[3].state[name], value, 1e-6);
});

test("a chain needs exactly one optimizer, in its place; two averages of one name are refused", () => {
  expect(() => chain()).toThrow(/one optimizer/);
  expect(() => chain(ema(), sgd())).toThrow(/out of order/);
  expect(() => chain(sgd(), clipByValue(1))).toThrow(/out of order/);
  expect(() => chain(sgd(), sgd())).toThrow(/out of order/);
  expect(() => chain(sgd(), ema(), ema({ decay: 0.9 })).init({ p: vector(1) })).toThrow(
    /both keep state named "ema\/p"/,
  );
});

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import { createRandom, fromData, normal, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  add,
  lazyTensor,
  log,
  matMul,
  mul,
  parameter,
  type Runtime,
  reduceMean,
  relu,
  sub,
  type Value,
} from "../../src/index.ts";
import { createRuntime, saveTraining } from "../../src/node/index.ts";
import { type Batch, type Loss, type StepMetrics, type TrainOptions, train } from "../../src/training/index.ts";
import { adam, sgd } from "./optimizers.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

/** A two-layer regression problem: y = tanh-like function of four inputs. */
const random = createRandom(7, "training test");
const initial = {
  "fc1.weight": normal([4, 8], random.child("w1"), { deviation: 0.5 }),
  "fc1.bias": tensor(new Array(8).fill(0)),
  "fc2.weight": normal([8, 1], random.child("w2"), { deviation: 0.5 }),
};
const squaredError = (p: Readonly<Record<string, Value>>, { x, y }: Readonly<Record<string, Value>>): Value => {
  const hidden = relu(add(matMul(x, p["fc1.weight"]), p["fc1.bias"]));
  const error = sub(matMul(hidden, p["fc2.weight"]), y);
  return reduceMean(mul(error, error), undefined, false);
};
function batch(index: number, rows = 16): Batch {
  const x = normal([rows, 4], random.child(`batch ${index}`));
  const values = toFloat64(x);
  const y = Float32Array.from({ length: rows }, (_, i) => values[4 * i] - 2 * values[4 * i + 1] * values[4 * i + 2]);
  return { x, y: fromData("float32", y, [rows, 1]) };
}
function* batches(from = 0, to = 1000): Generator<Batch> {
  for (let i = from; i < to; i++) yield batch(i);
}
const base = { parameters: initial, loss: squaredError, optimizer: adam, learningRate: 0.01 } as const;
const open = (options: Partial<TrainOptions>) =>
  train({ runtime, ...base, batches: (from) => batches(from), ...options });
async function run(
  options: Partial<TrainOptions>,
): Promise<{ all: StepMetrics[]; parameters: Record<string, Tensor> }> {
  const training = await open(options);
  const all: StepMetrics[] = [];
  for await (const metrics of training) all.push(metrics);
  const parameters = await training.parameters();
  await training.close();
  return { all, parameters };
}

test("the loss falls, metrics come step by step, and the last step is the last", async () => {
  const { all } = await run({ steps: 150 });
  expect(all.map((each) => each.step)).toEqual(Array.from({ length: 150 }, (_, i) => i + 1));
  expect(all[0].loss).toBeGreaterThan(3);
  const tail = all.slice(-10).reduce((sum, each) => sum + each.loss, 0) / 10;
  expect(tail).toBeLessThan(0.6 * all[0].loss);
});

test("one step of gradient descent is the step worked out by hand", async () => {
  // loss = mean((w·x - y)²); w = 1, x = [1, 2], y = 0: dL/dw = mean(2·w·x²) = 5; w′ = 1 - 0.1 · 5
  const loss: Loss = ({ w }, { x }) => reduceMean(mul(mul(x, w), mul(x, w)), undefined, false);
  const training = await train({
    runtime,
    parameters: { w: tensor([1]) },
    loss,
    optimizer: sgd,
    learningRate: 0.1,
    batches: [{ x: tensor([1, 2]) }],
    watchNorm: true,
  });
  const metrics = await training.finish();
  expect(metrics).toMatchObject({ step: 1, loss: 2.5, gradientNorm: 5 });
  expect((await training.parameters()).w.data[0]).toBeCloseTo(0.5, 6);
  await training.close();
});

test("the same seed gives the same bytes; a saved training goes on as if never stopped", async () => {
  const noisy: Loss = (p, { x, y }, { random: draws }) =>
    squaredError(p, { x: mul(x, draws.keep("dropout", [16, 4], 0.25)), y });
  const options = { loss: noisy, steps: 12, seed: 3, ema: { decay: 0.9 }, clip: { norm: 1 }, accumulate: 2 };
  const straight = await run(options);
  expect((await run(options)).parameters).toEqual(straight.parameters);
  expect((await run({ ...options, seed: 4 })).parameters).not.toEqual(straight.parameters);

  const first = await open({ ...options });
  for await (const { step } of first) if (step === 5) break;
  const saved = await first.save();
  await first.close();
  for (const source of [(from: number) => batches(from), batches()]) {
    const second = await open({ ...options, resume: saved, batches: source });
    expect(second.step).toBe(5);
    const losses: number[] = [];
    for await (const { loss } of second) losses.push(loss);
    expect(losses).toEqual(straight.all.slice(5).map((each) => each.loss));
    expect(await second.parameters()).toEqual(straight.parameters);
    await second.close();
  }
  await expect(open({ ...options, resume: saved, seed: 9 })).rejects.toThrow(/another seed/);
  await expect(open({ ...options, resume: saved, optimizer: sgd })).rejects.toThrow(/another optimizer/);
  await expect(open({ ...options, ema: undefined, resume: saved })).rejects.toMatchObject({ code: "RESUME_MISMATCH" });
});

test("a training is saved to a file, over an older one, and goes on from it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "loomweight-training-"));
  const path = join(folder, "training.safetensors");
  const first = await open({ steps: 4 });
  for await (const { step } of first) if (step >= 2) await saveTraining(path, first);
  const saved = await openCheckpoint(path);
  const second = await open({ steps: 4, resume: saved });
  expect(second.step).toBe(4);
  expect(await second.finish()).toBeUndefined();
  expect(await second.parameters()).toEqual(await first.parameters());
  await Promise.all([first.close(), second.close(), saved.close()]);
  await rm(folder, { recursive: true });
});

test("accumulated gradients are those of one large batch", async () => {
  const halves = [batch(0, 8), batch(1, 8)];
  const joined = (name: string, width: number): Tensor =>
    fromData("float32", Float32Array.from(halves.flatMap((each) => [...toFloat64(each[name])])), [16, width]);
  const large = { x: joined("x", 4), y: joined("y", 1) };
  const accumulated = await run({ optimizer: sgd, batches: halves, accumulate: 2, clip: { norm: 0.5 } });
  const whole = await run({ optimizer: sgd, batches: [large], clip: { norm: 0.5 } });
  expect(accumulated.all.length).toBe(1);
  expect(accumulated.all[0].loss).toBeCloseTo(whole.all[0].loss, 5);
  expect(accumulated.all[0].gradientNorm).toBeCloseTo(whole.all[0].gradientNorm ?? 0, 4);
  for (const name of Object.keys(initial)) {
    for (const [i, value] of toFloat64(whole.parameters[name]).entries()) {
      expect(toFloat64(accumulated.parameters[name])[i]).toBeCloseTo(value, 6);
    }
  }
});

test("clipping limits the norm of all gradients together, or each element", async () => {
  const loss: Loss = ({ a, b }) =>
    add(mul(reduceMean(a, undefined, false), 3), mul(reduceMean(b, undefined, false), 4));
  const given = { parameters: { a: tensor([0]), b: tensor([0]) }, loss, optimizer: sgd, learningRate: 1 };
  const one = [{ unused: tensor([0]) }];
  const byNorm = await run({ ...given, batches: one, clip: { norm: 1 } });
  expect(byNorm.all[0].gradientNorm).toBe(5);
  expect(byNorm.parameters.a.data[0]).toBeCloseTo(-0.6, 6);
  expect(byNorm.parameters.b.data[0]).toBeCloseTo(-0.8, 6);
  const byValue = await run({ ...given, batches: one, clip: { value: 3.5 } });
  expect([byValue.parameters.a.data[0], byValue.parameters.b.data[0]]).toEqual([-3, -3.5]);
});

test("frozen parameters stay, schedules need no new graph, the moving average follows", async () => {
  const rates: number[] = [];
  const training = await open({
    steps: 4,
    trainable: /^fc2/,
    learningRate: (done) => 0.1 / (done + 1),
    optimizer: sgd,
    ema: { decay: 0.5 },
  });
  const trail: number[] = [];
  for await (const { learningRate } of training) {
    rates.push(learningRate);
    trail.push(Number((await training.parameters())["fc2.weight"].data[0]));
  }
  expect(rates).toEqual([0.1, 0.05, 0.1 / 3, 0.025]);
  const { "fc1.weight": kept } = await training.state.read(["fc1.weight"]);
  expect(kept).toEqual(initial["fc1.weight"]);
  const average = (await training.parameters({ average: true }))["fc2.weight"].data[0];
  const start = Number(initial["fc2.weight"].data[0]);
  expect(average).toBeCloseTo(
    trail.reduce((mean, value) => (mean + value) / 2, start),
    5,
  );
  expect(Object.keys(await training.parameters())).toEqual(["fc2.weight"]);
  await training.close();
});

test("buffers are updated through the loss, and evaluation sees the same state", async () => {
  const loss: Loss = (p, { x, y }, context) => ({
    loss: squaredError(p, { x, y }),
    metrics: { largest: reduceMean(y, undefined, false) },
    updates: { seen: add(context.buffers.seen, 1) },
  });
  const training = await open({
    loss,
    steps: 6,
    buffers: { seen: tensor([0]) },
    evaluation: {
      every: 3,
      batches: () => [batch(2000, 10), batch(2001, 30)],
      metrics: (p, { x, y }, { buffers }) => ({
        error: squaredError(p, { x, y }),
        seen: buffers.seen,
      }),
    },
  });
  const evaluations: (Record<string, number> | undefined)[] = [];
  for await (const { evaluation, metrics } of training) {
    evaluations.push(evaluation as Record<string, number> | undefined);
    expect(Number.isFinite(metrics.largest)).toBe(true);
  }
  expect(evaluations.map((each) => each?.seen)).toEqual([undefined, undefined, 3, undefined, undefined, 6]);
  const now = await training.evaluate();
  expect(now.error).toBe(evaluations[5]?.error);
  expect((await training.parameters()).seen.data[0]).toBe(6);
  await training.close();
});

test("a value that is not finite is found by name, and the step is undone", async () => {
  const loss: Loss = (p, { x, y }) => {
    const plain = squaredError(p, { x, y });
    return add(plain, reduceMean(log(sub(p.threshold, 1e-3)), undefined, false));
  };
  const training = await open({
    parameters: { ...initial, threshold: tensor([0.05]) },
    loss,
    optimizer: sgd,
    learningRate: 0.004,
  });
  // d/dt log(t) = 1/t pushes the threshold through zero after a few steps
  const steps: number[] = [];
  const going = (async () => {
    for await (const { step } of training) steps.push(step);
  })();
  await expect(going).rejects.toThrow(/NON_FINITE|step \d+: \/Log has 1 × NaN/);
  expect(steps.length).toBeGreaterThan(0);
  const { threshold } = await training.parameters();
  expect(Number.isFinite(Number(threshold.data[0]))).toBe(true);
  expect(training.step).toBe(steps.length);
  await training.save();
  await training.close();
  const infected = await open({ batches: [{ ...batch(0), x: tensor(new Array(64).fill(Number.NaN), [16, 4]) }] });
  await expect(infected.finish()).rejects.toThrow(/input "x" of the step has 64 × NaN among 64/);
  await infected.close();
});

test("memory does not grow over a thousand steps", async () => {
  const training = await open({ steps: 1000 });
  const resident: number[] = [];
  for await (const { step } of training) if (step % 100 === 0) resident.push(process.memoryUsage.rss() / 2 ** 20);
  await training.close();
  // The collector of garbage moves the figure up and down; a step that kept even its batch would add 100 MB.
  expect(Math.min(...resident.slice(-3)) - Math.max(...resident.slice(1, 4))).toBeLessThan(60);
}, 60_000);

test("a signal stops the training between steps", async () => {
  const controller = new AbortController();
  const training = await open({ signal: controller.signal });
  await expect(
    (async () => {
      for await (const { step } of training) if (step === 3) controller.abort();
    })(),
  ).rejects.toMatchObject({ code: "ABORTED" });
  expect(training.step).toBe(3);
  await training.close();
});

test("options and losses that cannot be are refused by name", async () => {
  await expect(open({ accumulate: 0 })).rejects.toThrow(/accumulate/);
  await expect(open({ clip: { norm: -1 } })).rejects.toThrow(/clip.norm/);
  await expect(open({ trainable: /^nothing/ })).rejects.toThrow(/no parameter is trainable/);
  await expect(open({ buffers: { "fc1.bias": tensor([0]) } })).rejects.toThrow(/is a parameter as well/);
  const vector = await open({ loss: (p, { x }) => matMul(x, p["fc1.weight"]) });
  await expect(vector.finish()).rejects.toMatchObject({ code: "INVALID_LOSS" });
  const unknown = await open({
    loss: (p, b) => ({ loss: squaredError(p, b), updates: { mean: p["fc1.bias"] } }),
  });
  await expect(unknown.finish()).rejects.toMatchObject({ code: "UNKNOWN_BUFFER" });
  const none = await open({ batches: [] });
  expect(await none.finish()).toBeUndefined();
  const frozen = parameter("w", lazyTensor(tensor([1])));
  const outside = await open({
    loss: (p, b) => mul(squaredError(p, b), reduceMean(frozen, undefined, false)),
    steps: 1,
  });
  expect((await outside.finish())?.step).toBe(1);
});

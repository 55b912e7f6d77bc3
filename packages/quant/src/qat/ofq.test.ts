import { evaluateTrace, gradient, input, matMul, mul, reduceSum, sub, transpose, type Value } from "@loomweight/graph";
import { createRandom, fromData, fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { statsqBlocks } from "../algorithms/statsq-blocks.ts";
import { dequantizeBlocks } from "../dequantize.ts";
import { annealed, nearThreshold } from "./cga.ts";
import { lsq, lsqPlus, lsqScale } from "./lsq.ts";
import { createOscillationTracker } from "./oscillation.ts";
import { qkReparameterize } from "./qk-reparameterize.ts";
import { statsq, statsqParts } from "./statsq.ts";

const matrix = (rows: readonly (readonly number[])[]): Tensor =>
  fromFloat64(Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
const like = (name: string, { dtype, shape }: Tensor) => input(name, dtype, shape);
const run = (value: Value, feeds: Record<string, Tensor>) => [...toFloat64(evaluateTrace({ value }, feeds).value)];
function expectClose(found: readonly number[], expected: readonly number[], digits = 5): void {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(found[i]).toBeCloseTo(value, digits);
}

const W = matrix([
  [0.9, -0.2, 0.05],
  [0.1, -0.5, 0.27],
]);
const w = like("W", W);
const drawn = (seed: number, shape: readonly number[]) => {
  const values = new Float64Array(shape.reduce((product, size) => product * size, 1));
  createRandom(seed, "weights").normalsInto(values);
  return fromFloat64(values, shape);
};

test("the card's worked example of StatsQ, LSQ, CGA and QKR", () => {
  const parts = statsqParts(w, { bits: 2 });
  expectClose(run(parts.scale, { W }), [0.766667, 0.58]);
  expectClose(run(parts.codes, { W }), [1, -1, 0, 0, -2, 0]);
  expectClose(run(parts.dequantized, { W }), [0.575, -0.191667, 0.191667, 0.145, -0.435, 0.145]);
  expectClose(run(statsq(w, { bits: 3 }), { W }), [0.670833, -0.2875, 0.0958333, 0.0725, -0.5075, 0.2175]);
  const expected = { 2: [0.69031, -0.447944], 3: [0.101867, 0.129406] };
  for (const bits of [2, 3] as const) {
    const options = { bits, axis: 0 };
    const scale = evaluateTrace({ scale: lsqScale(w, options) }, { W }).scale;
    const s = like("s", scale);
    expectClose(run(gradient(reduceSum(lsq(w, s, options), undefined, false), s), { W, s: scale }), expected[bits]);
  }
  const row = matrix([[0.9, -0.3, 0.001, -0.598, 1.199]]);
  const near = (boundaryRange: number) =>
    run(nearThreshold(like("W", row), { bits: 2 }, { boundaryRange }), { W: row });
  expect(near(0.005)).toEqual([0, 0, 1, 1, 0]);
  expect(near(0.002)).toEqual([0, 0, 1, 0, 0]);
  const [q, k] = [
    matrix([
      [1, 0.5],
      [-0.5, 1],
    ]),
    matrix([
      [0.5, -1],
      [1, 0.5],
    ]),
  ];
  const { product } = qkReparameterize(like("q", q), like("k", k), { heads: 1 });
  expectClose(run(product, { q, k }), [0, -1.25, 1.25, 0]);
  expectClose(run(statsq(product, { bits: 2 }), { q, k }), [0.3125, -0.9375, 0.9375, 0.3125]);
});

test("laws of StatsQ: few symmetric levels, none 0, scale and order of rows, rows of zeros", () => {
  const weight = drawn(1, [6, 200]);
  for (const bits of [2, 3, 4]) {
    const at = (tensor: Tensor) => run(statsq(like("W", tensor), { bits }), { W: tensor });
    const found = at(weight);
    for (let row = 0; row < 6; row++) {
      const levels = [...new Set(found.slice(row * 200, (row + 1) * 200).map((value) => Math.abs(value)))];
      expect(levels.length).toBeLessThanOrEqual(2 ** (bits - 1));
      expect(Math.min(...levels)).toBeGreaterThan(0);
    }
    expectClose(
      at(
        fromFloat64(
          toFloat64(weight).map((value) => 3 * value),
          [6, 200],
        ),
      ),
      found.map((value) => 3 * value),
      10,
    );
  }
  expect(run(statsq(like("W", matrix([[0, 0]])), { bits: 2 }), { W: matrix([[0, 0]]) })).toEqual([0, 0]);
  expect(() => statsq(w, { bits: 1 })).toThrow(/2 to 8/);
  expect(() => nearThreshold(w, { bits: 2 }, { boundaryRange: 0.5 })).toThrow(/boundaryRange/);
  expect(() => lsq(w, w, { bits: 2, axis: 4 })).toThrow(/axis/);
});

test("codes for MatMulNBits stand for the weight that was trained", () => {
  for (const bits of [2, 3, 4] as const) {
    const trained = drawn(bits, [5, 70]); // [out, in]
    const quantized = statsqBlocks({ ...trained, shape: [70, 5], stride: [1, 70] }, { bits, blockSize: 16 });
    const found = dequantizeBlocks(quantized); // [K, N]
    const wanted = run(transpose(statsq(like("W", trained), { bits }), [1, 0]), { W: trained });
    expectClose([...toFloat64(found)], wanted, 5);
  }
});

test("LSQ+: inside the range x learns and the offset does not, beyond it the other way round", () => {
  const [x, s, beta] = [
    matrix([[-2, 0.3, 1.1, 9]]),
    fromFloat64(Float64Array.of(0.5), [1]),
    fromFloat64(Float64Array.of(-1), [1]),
  ];
  const values = { x: like("x", x), s: like("s", s), beta: like("beta", beta) };
  const y = lsqPlus(values.x, values.s, values.beta, { bits: 3 });
  const feeds = { x, s, beta };
  expectClose(run(y, feeds), [-1, 0.5, 1, 2.5]);
  const grads = gradient(reduceSum(y, undefined, false), values);
  expectClose(run(grads.x, feeds), [0, 1, 1, 0]);
  const weight = 1 / Math.sqrt(7 * 4);
  expectClose(run(grads.beta, feeds), [2 * weight]);
  expectClose(run(grads.s, feeds), [weight * (0 + (3 - 2.6) + (4 - 4.2) + 7)]);
});

test("an exact identity: scores by the product of queries and keys, but for a number a query", () => {
  const [heads, width, tokens] = [2, 6, 3];
  const [q, k, x] = [drawn(1, [width, width]), drawn(2, [width, width]), drawn(3, [tokens, width])];
  const bias = drawn(4, [width]);
  const feeds = { q, k, x, bias };
  const v = { q: like("q", q), k: like("k", k), x: like("x", x), bias: like("bias", bias) };
  const { product, keyBias } = qkReparameterize(v.q, v.k, { heads, queryBias: v.bias });
  const [M, u] = [run(product, feeds), run(keyBias as Value, feeds)];
  const X = toFloat64(x);
  const project = (weight: Tensor, more?: Tensor) =>
    Array.from({ length: tokens }, (_, t) =>
      Array.from({ length: width }, (_, o) => {
        let sum = more === undefined ? 0 : toFloat64(more)[o];
        for (let i = 0; i < width; i++) sum += toFloat64(weight)[o * width + i] * X[t * width + i];
        return sum;
      }),
    );
  const [Q, K] = [project(q, bias), project(k, drawn(5, [width]))];
  for (let head = 0; head < heads; head++) {
    for (let n = 0; n < tokens; n++) {
      const differences = Array.from({ length: tokens }, (_, m) => {
        let [plain, ours] = [0, 0];
        for (let i = 0; i < width / heads; i++)
          plain += Q[n][(head * width) / heads + i] * K[m][(head * width) / heads + i];
        for (let a = 0; a < width; a++) {
          ours += u[head * width + a] * X[m * width + a];
          for (let b = 0; b < width; b++)
            ours += X[n * width + a] * M[(head * width + a) * width + b] * X[m * width + b];
        }
        return plain - ours;
      });
      for (const each of differences) expect(each).toBeCloseTo(differences[0], 10);
    }
  }
  expect(() => qkReparameterize(v.q, v.k, { heads: 4 })).toThrow(/heads/);
});

test("annealing holds what is far from a threshold, against momentum and decay; weights settle", () => {
  const weight = drawn(7, [4, 30]);
  const pull = {
    name: "pull",
    init: () => ({}),
    scalars: () => ({}),
    update: ({ parameters }: { parameters: Record<string, Value> }) => ({
      parameters: Object.fromEntries(
        Object.entries(parameters).map(([name, value]) => [name, mul(sub(value, 0.3), 0.9)]),
      ),
      state: {},
    }),
  };
  const optimizer = annealed(pull as never, { boundaryRange: 0.1, weights: { W: { bits: 3 } } });
  const [value, bias] = [like("W", weight), like("b", W)];
  const call = { parameters: { W: value, b: bias }, gradients: { W: value, b: bias }, state: {}, scalars: {} };
  const next = optimizer.update({ ...call, gradientsAt: () => ({}) });
  const near = run(nearThreshold(value, { bits: 3 }, { boundaryRange: 0.1 }), { W: weight });
  const after = run(next.parameters.W, { W: weight, b: W });
  const before = [...toFloat64(weight)];
  expect(new Set(near)).toEqual(new Set([0, 1]));
  after.forEach((each, i) => {
    expect(each === before[i]).toBe(near[i] === 0);
  });
  expectClose(
    run(next.parameters.b, { W: weight, b: W }),
    [...toFloat64(W)].map((each) => 0.9 * (each - 0.3)),
    12,
  );
});

test("oscillations are counted", () => {
  const tracker = createOscillationTracker();
  for (const codes of [
    [0, 0],
    [1, 0],
    [0, 1],
    [1, 2],
    [1, 2],
  ])
    tracker.update(fromData("float32", Float32Array.from(codes), [2]));
  expect([...tracker.total]).toEqual([2, 0]);
  expect(tracker.rate()).toBe(2 / 8);
  expect(() => tracker.update(fromData("float32", new Float32Array(3), [3]))).toThrow(/2 codes/);
});

test("a product of few bits is learnt, and onnxruntime runs it from its codes", async () => {
  const { createRuntime, openSession } = await import("@loomweight/graph/node");
  const { train } = await import("@loomweight/graph/training");
  const { assemble, encodeOnnx, lazyTensor, parameter } = await import("@loomweight/graph");
  const { adam } = await import("@loomweight/optim");
  const { quantizeWeightOnly } = await import("../graph/weight-only.ts");
  const random = createRandom(9, "data");
  const [inputs, outputs, rows] = [64, 8, 128];
  const normal = (name: string, shape: readonly number[]) => {
    const values = new Float32Array(shape[0] * shape[1]);
    random.child(name).normalsInto(values);
    return fromData("float32", values, shape);
  };
  const [x, truth, first] = [
    normal("x", [rows, inputs]),
    normal("w", [outputs, inputs]),
    normal("first", [outputs, inputs]),
  ];
  const target = evaluateTrace({ y: matMul(like("x", x), transpose(like("t", truth), [1, 0])) }, { x, t: truth }).y;
  const runtime = await createRuntime({ threads: 1 });
  const training = await train({
    runtime,
    parameters: { weight: first },
    loss: ({ weight }, batch) => {
      const error = sub(matMul(batch.x, transpose(statsq(weight, { bits: 2 }), [1, 0])), batch.target);
      return reduceSum(mul(error, mul(error, 1 / (rows * outputs))), undefined, false);
    },
    optimizer: adam(),
    learningRate: 0.02,
    steps: 120,
    *batches() {
      for (;;) yield { x, target };
    },
  });
  const losses: number[] = [];
  for await (const { loss } of training) losses.push(loss);
  const { weight } = await training.parameters();
  await training.close();
  await runtime.close();
  expect(losses[losses.length - 1]).toBeLessThan(losses[0] / 4);
  const turned = { ...weight, shape: [inputs, outputs], stride: [1, inputs] };
  const data = input("x", "float32", [rows, inputs]);
  const model = assemble({
    name: "product",
    inputs: [data],
    outputs: { y: matMul(data, parameter("w", lazyTensor(turned))) },
  });
  const session = await openSession(await encodeOnnx(quantizeWeightOnly(model, { bits: 2, algorithm: "statsq" })));
  const { y } = await session.run({ x });
  await session.close();
  const exact = run(matMul(like("x", x), transpose(statsq(like("W", weight), { bits: 2 }), [1, 0])), {
    x,
    W: weight,
  });
  // Sums of 64 products of float32, in another order.
  [...toFloat64(y)].forEach((each, i) => {
    expect(Math.abs(each - exact[i])).toBeLessThan(1e-4);
  });
});

import { evaluateTrace, gather, gradient, input, relu, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { blockContract, largest } from "../../test/block-contract.ts";
import { numbers } from "../../test/contract.ts";
import { numbersOf } from "../../test/method-replay.ts";
import { countBlockParameters } from "../define-block.ts";
import { activate } from "../maths/bottleneck.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import {
  diffModes,
  foldGains,
  gateStatistics,
  interpolateModes,
  neuronContributions,
  participation,
  pruneSilent,
  sharpnessAt,
  type TauGateOptions,
  tauGate,
} from "./taugate.ts";

const plain: TauGateOptions = { sharpness: 10, hard: false, straightThrough: false, gain: "free", init: "match" };
const module = (x: Value) => relu(x);
blockContract(tauGate, [{ what: "hard, ReLU", in: 7, out: 7, options: { ...plain, hard: true }, module }], {
  "gradients are those of central differences": "a hard gate has a step where the thresholds are",
});
blockContract(
  tauGate,
  [
    { what: "soft, ReLU", in: 7, out: 7, options: plain, module },
    {
      what: "soft, GELU, s = 2",
      in: 5,
      out: 5,
      options: { ...plain, sharpness: 2 },
      module: (x) => activate(x, "gelu"),
    },
    { what: "gains at least 0", in: 5, out: 5, options: { ...plain, gain: "nonNegative" }, module },
  ],
  { "a fresh adapter leaves the output as it is": "the soft gate differs by at most 0.278465 / s: tested below" },
);

const row = (values: number[]) => fromData("float64", Float64Array.from(values), [1, values.length]);
const vector = (values: number[]) => fromData("float64", Float64Array.from(values), [values.length]);
const z = row([2, -1, 0.3, 0.05]);
const mode = { tau: vector([0.5, -2, 0.3, 0.2]), gamma: vector([1.5, 1, 0.8, 2]) };
const siteOf = (x: Value, output = relu(x)) => ({
  path: "act",
  index: 0,
  in: Number(x.shape[1]),
  out: Number(x.shape[1]),
  input: x,
  output,
});

test.each<[string, Partial<TauGateOptions>, number[]]>([
  ["s = 10", {}, [3, 0, 0.12, 0.0182426]],
  ["s = 2", { sharpness: 2 }, [2.85772, 0, 0.12, 0.0425557]],
  ["hard, shut at a tie", { hard: true }, [3, 0, 0, 0]],
])("worked example: %s", (_what, given, expected) => {
  numbersOf(tauGate.apply(siteOf(z), { ...mode }, { ...plain, ...given }) as Tensor).forEach((value, i) => {
    expect(Math.abs(value - expected[i])).toBeLessThan(2e-5);
  });
});

test("worked example: gradients at s = 10", () => {
  const feeds: Record<string, Tensor> = { z, ...mode };
  const values = Object.fromEntries(
    Object.entries(feeds).map(([name, { shape }]) => [name, input(name, "float64", shape)]),
  );
  const y = tauGate.apply(siteOf(values.z), values, plain);
  const slopes = evaluateTrace<string>(gradient(y, values, { upstream: row([1, 1, 1, 1]) }), feeds);
  const expected: Record<string, number[]> = {
    tau: [-9.17706e-6, 0, -0.6, -0.149146],
    gamma: [2, 0, 0.15, 0.00912128],
    z: [1.50001, 0, 1, 0.513997],
  };
  for (const [name, values] of Object.entries(expected)) {
    numbersOf(slopes[name]).forEach((value, i) => {
      expect(Math.abs(value - values[i])).toBeLessThan(1e-5);
    });
  }
});

test("at the start the soft gate differs from ReLU by at most 0.278465 / s, and that is reached", () => {
  const x = numbers("z", [400, 5], 3);
  for (const sharpness of [2, 10, 30]) {
    const fresh = { tau: vector([0, 0, 0, 0, 0]), gamma: vector([1, 1, 1, 1, 1]) };
    const difference = largest(tauGate.apply(siteOf(x), fresh, { ...plain, sharpness }) as Tensor, relu(x) as Tensor);
    expect(difference).toBeLessThanOrEqual(0.278465 / sharpness);
    expect(difference).toBeGreaterThan(0.27 / sharpness);
  }
});

test("sharper gates come near the hard one; thresholds far below leave gains only", () => {
  const x = numbers("z", [50, 4], 2);
  const apply = (params: { tau: Tensor; gamma: Tensor }, given: Partial<TauGateOptions>) =>
    tauGate.apply(siteOf(x), { ...params }, { ...plain, ...given }) as Tensor;
  expect(largest(apply(mode, { sharpness: 1e7 }), apply(mode, { hard: true }))).toBeLessThan(1e-9);
  const gains = apply({ ...mode, tau: vector([-1e6, -1e6, -1e6, -1e6]) }, {});
  numbersOf(gains).forEach((value, i) => {
    expect(value).toBeCloseTo(Math.max(0, numbersOf(x)[i]) * numbersOf(mode.gamma)[i % 4], 12);
  });
});

const [hidden, classes] = [6, 3];
const net = {
  weight: numbers("w", [hidden, 4]),
  bias: numbers("b", [hidden]),
  next: numbers("v", [classes, hidden]),
  nextBias: numbers("c", [classes]),
  tau: vector([-0.2, 0.1, 9, 0.3, 0, -1]),
  gamma: vector([1.5, 0.7, 1, 0, 2, 1]),
};
const hardLogits = (x: Tensor, layer: typeof net) => {
  const z = linearOf(x, layer.weight, layer.bias);
  return linearOf(
    tauGate.apply(siteOf(z), { tau: layer.tau, gamma: layer.gamma }, { ...plain, hard: true }),
    layer.next,
    layer.nextBias,
  ) as Tensor;
};

test("gains fold into the next layer, silent neurons leave, contributions sum to the logits", () => {
  const x = numbers("x", [40, 4]);
  const logits = hardLogits(x, net);
  const ones = vector([1, 1, 1, 1, 1, 1]);
  expect(largest(logits, hardLogits(x, { ...net, gamma: ones, next: foldGains(net.next, net.gamma) }))).toBeLessThan(
    1e-14,
  );
  const z = linearOf(x, net.weight, net.bias) as Tensor;
  const most = numbersOf(z).reduce<number[]>((found, value, i) => {
    found[i % hidden] = Math.max(found[i % hidden] ?? Number.NEGATIVE_INFINITY, value);
    return found;
  }, []);
  const { dropped, ...pruned } = pruneSilent(net, vector(most));
  expect(dropped).toEqual([false, false, true, true, false, false]);
  expect([pruned.weight.shape, pruned.next.shape]).toEqual([
    [4, 4],
    [classes, 4],
  ]);
  expect(largest(logits, hardLogits(x, { ...net, ...pruned } as never))).toBeLessThan(1e-14);
  const h = tauGate.apply(siteOf(z), { tau: net.tau, gamma: net.gamma }, { ...plain, hard: true });
  const parts = numbersOf(neuronContributions(h, net.next) as Tensor);
  numbersOf(logits).forEach((value, at) => {
    const own = parts.slice(at * hidden, (at + 1) * hidden).reduce((sum, part) => sum + part, 0);
    expect(value).toBeCloseTo(own + numbersOf(net.nextBias)[at % classes], 12);
  });
});

test("permuting the neurons changes nothing", () => {
  const x = numbers("x", [9, 4]);
  const order = fromData("int64", BigInt64Array.from([4n, 2n, 0n, 5n, 1n, 3n]), [6]);
  const at = (tensor: Tensor, axis = 0) => gather(tensor, order, axis) as Tensor;
  const turned = {
    ...net,
    weight: at(net.weight),
    bias: at(net.bias),
    tau: at(net.tau),
    gamma: at(net.gamma),
    next: at(net.next, 1),
  };
  expect(largest(hardLogits(x, net), hardLogits(x, turned as typeof net))).toBeLessThan(1e-14);
});

test("raising a threshold never raises participation; a gain of 0 deletes the neuron; with W = 0 nothing can be learnt", () => {
  const x = numbers("z", [200, 1], 2);
  const shares = [-3, -1, 0, 0.5, 1, 3].map((tau) => numbersOf(participation(x, vector([tau])) as Tensor)[0]);
  expect(shares).toEqual([...shares].sort((a, b) => b - a));
  expect([shares[0], shares[5]]).toEqual([1, 0]);
  const blind = { ...net, weight: vector(Array(24).fill(0)), bias: vector(Array(6).fill(0)) };
  const flat = { ...blind, weight: fromData("float64", new Float64Array(24), [6, 4]) } as typeof net;
  const outputs = numbersOf(hardLogits(numbers("x", [5, 4]), flat));
  outputs.forEach((value, i) => {
    expect(value).toBe(numbersOf(net.nextBias)[i % classes]);
  });
});

test("modes: between two, and by how much neurons differ", () => {
  const a = { tau: vector([0, 0]), gamma: vector([1, -1]) };
  const b = { tau: vector([1, 5]), gamma: vector([4, 1]) };
  const middle = interpolateModes(a, b, 0.5);
  expect([numbersOf(middle.tau), numbersOf(middle.gamma)]).toEqual([
    [0.5, 2.5],
    [2, 0],
  ]);
  expect(interpolateModes(a, b, 0).gamma.data).toEqual(Float32Array.of(1, -1));
  const differences = diffModes(a, b, numbers("z", [100, 2], 2));
  expect(differences.map(({ neuron, gain }) => [neuron, gain])).toEqual([
    [0, 3],
    [1, 2],
  ]);
  expect(differences[1].participation).toBeLessThan(-0.3);
});

test("starts from data: open gates, or a quantile", () => {
  const z = numbers("z", [101, 3], 2);
  const statistics = gateStatistics(z, 0.7);
  const site = { path: "act", index: 0, in: 3, out: 3 };
  const random = adapterRandom(1, "act");
  const open = tauGate.init(site, { ...plain, init: "open" }, { random, statistics });
  const wide = { tau: vector(numbersOf(open.tau)), gamma: vector(numbersOf(open.gamma)) };
  const opened = tauGate.apply(siteOf(z), wide, plain) as Tensor;
  numbersOf(opened).forEach((value, i) => {
    const base = Math.max(0, numbersOf(z)[i]);
    expect(value).toBeGreaterThanOrEqual(0.9975 * base - 1e-9);
  });
  const sparse = tauGate.init(site, { ...plain, init: "quantile" }, { random, statistics });
  for (const share of numbersOf(participation(z, vector(numbersOf(sparse.tau))) as Tensor))
    expect(share).toBeCloseTo(0.3, 1);
  expect(() => tauGate.init(site, { ...plain, init: "open" }, { random })).toThrow(/minimum \[3\]/);
});

test("counts and the schedule of the sharpness", () => {
  const sites = [128, 128].map((size, index) => ({ path: `act${index}`, index, in: size, out: size }));
  expect(countBlockParameters(tauGate, sites, plain)).toBe(512);
  expect(sharpnessAt(0, 10, { from: 2, to: 50 })).toBe(2);
  expect(sharpnessAt(5, 10, { from: 2, to: 50 })).toBeCloseTo(10, 12);
  expect(sharpnessAt(10, 10, { from: 2, to: 50 })).toBeCloseTo(50, 12);
});

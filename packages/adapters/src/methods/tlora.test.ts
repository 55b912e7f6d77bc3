import { evaluateTrace, gradient, input, matMul, mul, reduceSum, sub, type Value } from "@loomweight/graph";
import { createRandom, normal, reshape, type Tensor, toFloat64, transpose } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers, plainNumbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import {
  applyTransform,
  balancedFactors,
  identityPenalty,
  orthogonalPenalty,
  ringTransform,
} from "../maths/tensor-ring.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import { type TloraOptions, tlora } from "./tlora.ts";

const plain: TloraOptions = {
  modes: 2,
  modesIn: "",
  modesOut: "",
  rankTransform: 2,
  residual: "tr",
  rankResidual: 2,
  alpha: 3,
  side: "input",
  init: "zeroSum",
  noise: 0.05,
};
adapterContract(tlora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  {
    what: "transposed [8, 6], on the outputs",
    kind: "transposedLinear",
    storedShape: [8, 6],
    options: { ...plain, side: "output" },
  },
  {
    what: "three modes, LoRA",
    kind: "linear",
    storedShape: [5, 12],
    options: { ...plain, modes: 3, residual: "lora" },
  },
  {
    what: "one mode, no residual",
    kind: "linear",
    storedShape: [5, 7],
    options: { ...plain, modes: 1, residual: "none" },
  },
]);

/** [i, j, p, q] from slices (p, q) → rows. */
function core(size: number, slices: Readonly<Record<string, readonly (readonly number[])[]>>): Tensor<"float64"> {
  const values = new Float64Array(size * size * 4);
  for (const [name, rows] of Object.entries(slices)) {
    const [p, q] = [...name].map(Number);
    for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) values[(i * size + j) * 4 + p * 2 + q] = rows[i][j];
  }
  return float64([...values], [size, size, 2, 2]);
}
const ring = (...slices: number[][][]) => float64(slices.flat(2), [slices.length, 2, 2]);

test("worked example", () => {
  const A0 = core(2, {
    "00": [
      [1, 0.1],
      [0, 1],
    ],
    "11": [
      [0, 0.2],
      [0, 0],
    ],
  });
  const A1 = core(2, {
    "00": [
      [1, 0],
      [0.5, 1],
    ],
    "11": [
      [0, 0],
      [1, 0],
    ],
  });
  expectNumbers(plainNumbers(ringTransform([A0, A1])), [1, 0, 0.1, 0, 0.5, 1, 0.25, 0.1, 0, 0, 1, 0, 0, 0, 0.5, 1]);
  const params = {
    A0,
    A1,
    B0: ring(
      [
        [0.1, 0],
        [0, 0.2],
      ],
      [
        [0, 0.1],
        [0, 0],
      ],
    ),
    C0: ring(
      [
        [1, 0],
        [0, 1],
      ],
      [
        [0, 1],
        [1, 0],
      ],
    ),
    C1: ring(
      [
        [1, 1],
        [0, 1],
      ],
      [
        [0, 1],
        [1, 0],
      ],
    ),
  };
  const rows = [
    [1, 0, 2, 0],
    [0, 1, 0, -1],
  ];
  const given = { ...plain, modesIn: "2x2", modesOut: "2" };
  const folded = foldRows(tlora, rows, params, given);
  expectNumbers(folded, [1.3, 0, 2.3, 0.3, 0.5, 1.1, -0.15, -0.9]);
  const x = float64([1, 2, -1, 0], [1, 4]);
  expectNumbers(plainNumbers(applyTransform(x, [A0, A1])), [0.9, 2.25, -1, -0.5]);
  expectNumbers(plainNumbers(matMul(x, transpose(float64(folded, [2, 4]), [1, 0]))), [-1, 2.85]);
  expectNumbers(plainNumbers(identityPenalty([A0, A1])), [0.5825]);
});

test("a fresh transform is the identity, whatever the modes and ranks", () => {
  for (const init of ["zeroSum", "paper"] as const) {
    for (const [modes, width] of [
      [1, 5],
      [2, 12],
      [3, 12],
    ]) {
      for (const rankTransform of [1, 2, 3]) {
        const layer = layerOf("linear", [4, width]);
        const made = tlora.init(
          layer,
          { ...plain, init, modes, rankTransform, residual: "none" },
          { random: adapterRandom(3, "m") },
        );
        const cores = Object.values(made).map((tensor) => float64([...toFloat64(tensor)], tensor.shape));
        const found = plainNumbers(ringTransform(cores));
        // Cores are float32.
        for (const [i, value] of found.entries()) {
          expect(Math.abs(value - (i % (width + 1) === 0 ? 1 : 0))).toBeLessThan(2e-7);
        }
        const spread = slicesOf(cores[cores.length - 1]).reduce(
          (most, slice, _, [first]) => Math.max(most, ...slice.map((value, i) => Math.abs(value - first[i]))),
          0,
        );
        expect(spread > 1e-3).toBe(init === "zeroSum" && rankTransform > 1);
      }
    }
  }
});

/** Slices [mode · mode] of a core by ring indices. */
function slicesOf(tensor: Tensor): number[][] {
  const [i, j, p, q] = tensor.shape;
  const turned = transpose(reshape(tensor, [i * j, p * q]), [1, 0]);
  const values = plainNumbers(turned);
  return Array.from({ length: p * q }, (_, k) => values.slice(k * i * j, (k + 1) * i * j));
}

test("laws of the ring: gauge freedom, Kronecker product at rank 1, penalties as from the whole matrix", () => {
  const cores = [numbers("a", [2, 2, 2, 2]), numbers("b", [3, 3, 2, 2])];
  const whole = plainNumbers(ringTransform(cores));
  const [m, inverse] = [float64([2, 1, 1, 1], [2, 2]), float64([1, -1, -1, 2], [2, 2])];
  expectNumbers(plainNumbers(ringTransform([matMul(cores[0], m), matMul(inverse, cores[1])])), whole);
  const [u, v] = [numbers("u", [2, 2, 1, 1]), numbers("v", [3, 3, 1, 1])];
  const kronecker = plainNumbers(ringTransform([u, v]));
  const [a, b] = [toFloat64(u), toFloat64(v)];
  expectNumbers(
    kronecker,
    kronecker.map((_, at) => {
      const [row, column] = [Math.floor(at / 6), at % 6];
      return a[Math.floor(row / 3) * 2 + Math.floor(column / 3)] * b[(row % 3) * 3 + (column % 3)];
    }),
  );
  const t = float64(whole, [6, 6]);
  const eye = float64(
    Array.from({ length: 36 }, (_, i) => (i % 7 === 0 ? 1 : 0)),
    [6, 6],
  );
  const squared = (matrix: Value) => plainNumbers(reduceSum(mul(matrix, matrix), [0, 1], false))[0];
  expect(plainNumbers(identityPenalty(cores))[0]).toBeCloseTo(squared(sub(t, eye)), 10);
  expect(plainNumbers(orthogonalPenalty(cores))[0]).toBeCloseTo(squared(sub(matMul(transpose(t, [1, 0]), t), eye)), 10);
});

test("parameters: 4096 = 64 · 64 needs 32,768 numbers for the transform and 9,216 for the residual", () => {
  const shapes = tlora.params(layerOf("linear", [4096, 4096]), { ...plain, rankResidual: 6 });
  const count = (start: string) =>
    Object.entries(shapes).reduce(
      (sum, [name, shape]) => sum + (start.includes(name[0]) ? (shape as number[]).reduce((a, b) => a * b, 1) : 0),
      0,
    );
  expect([count("A"), count("BC")]).toEqual([32_768, 9216]);
  expect(balancedFactors(768, 2)).toEqual([32, 24]);
  expect(balancedFactors(7, 2)).toEqual([7, 1]);
  expect(balancedFactors(64, 3)).toEqual([4, 4, 4]);
  expect(() => tlora.params(layerOf("linear", [4, 6]), { ...plain, modesIn: "2x2" })).toThrow(/product is 6/);
});

describe("the claim on a small regression", () => {
  // Target W₀ T* with T* = 1 + two Kronecker terms, 16 × 16, modes 4 · 4.
  const draw = (name: string, shape: number[], deviation: number) =>
    normal(shape, createRandom(1, name), { dtype: "float64", deviation });
  const base = draw("base", [16, 16], 0.25);
  const kron = (name: string) => [draw(`${name}/a`, [4, 4, 1, 1], 0.3), draw(`${name}/b`, [4, 4, 1, 1], 0.3)] as const;
  const term = (name: string) => ringTransform(kron(name)) as Tensor;
  const star = toFloat64(term("first")).map(
    (value, i) => value + toFloat64(term("second"))[i] + (i % 17 === 0 ? 1 : 0),
  );
  const target = matMul(base, float64([...star], [16, 16])) as Tensor;

  /** Relative loss after Adam. */
  function fit(given: TloraOptions, steps: number): number {
    const layer = layerOf("linear", [16, 16]);
    const made = tlora.init(layer, given, { random: adapterRandom(2, "fit") });
    const state = new Map(Object.entries(made).map(([name, tensor]) => [name, toFloat64(tensor).slice()]));
    const inputs = Object.fromEntries(
      Object.entries(made).map(([name, { shape }]) => [name, input(name, "float64", shape)]),
    );
    const weight = (tlora.weight as NonNullable<typeof tlora.weight>)(
      { ...layer, weight: base, base },
      inputs,
      given,
      {},
    );
    const error = sub(weight, target);
    const loss = reduceSum(mul(error, error), [0, 1], false);
    const grads = gradient(loss, inputs);
    const moments = new Map(
      [...state].map(([name, { length }]) => [name, [new Float64Array(length), new Float64Array(length)]]),
    );
    let last = Number.NaN;
    const start = squaredError(base, target);
    for (let step = 1; step <= steps; step++) {
      const feeds = Object.fromEntries(
        [...state].map(([name, values]) => [name, float64([...values], made[name].shape)]),
      );
      const found: Readonly<Record<string, Tensor>> = evaluateTrace({ loss, ...grads }, feeds);
      last = plainNumbers(found.loss)[0] / start;
      for (const [name, values] of state) {
        const g = plainNumbers(found[name]);
        const [first, second] = moments.get(name) as Float64Array[];
        for (let i = 0; i < values.length; i++) {
          first[i] = 0.9 * first[i] + 0.1 * g[i];
          second[i] = 0.999 * second[i] + 0.001 * g[i] * g[i];
          values[i] -= (0.01 * (first[i] / (1 - 0.9 ** step))) / (Math.sqrt(second[i] / (1 - 0.999 ** step)) + 1e-8);
        }
      }
    }
    return last;
  }
  const squaredError = (a: Tensor, b: Tensor) =>
    toFloat64(a).reduce((sum, value, i) => sum + (value - toFloat64(b)[i]) ** 2, 0);

  test("slices that differ let rank 2 reach what equal ones cannot, and what LoRA cannot", () => {
    const given: TloraOptions = { ...plain, residual: "lora", rankResidual: 1, alpha: 1 };
    const zeroSum = fit(given, 400);
    const paper = fit({ ...given, init: "paper" }, 400);
    expect(zeroSum).toBeLessThan(paper / 100);
    expect(paper).toBeGreaterThan(0.02);
  }, 60_000);
});

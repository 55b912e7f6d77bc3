import { add, evaluateTrace, gradient, input, mul, reduceSum, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import {
  createRandom,
  expectClose,
  fromFloat64,
  type LoomweightError,
  type Tensor,
  tensor,
  toFloat64,
} from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { padded } from "../../test/network-contract.ts";
import { type Axis, centred, product } from "../space/axis.ts";
import { choice, type Decision } from "../space/choice.ts";
import { decisionsOfParameter, largestShape, type ParameterSpec } from "../space/space.ts";
import { jointChoices } from "./probabilities.ts";
import { chosenRanges, sliceWeight } from "./slice.ts";
import { superpose } from "./superpose.ts";

const vector = (values: readonly number[]) => fromFloat64(Float64Array.from(values), [values.length], "float64");
const float64 = (values: readonly (readonly number[])[]) => tensor(values, undefined, "float64");

/** Σ_j p_j pad(slice_j(W)) over all joint choices, as it is defined. */
function explicit(weight: Tensor, spec: ParameterSpec, p: Readonly<Record<string, readonly number[]>>): Tensor {
  const decisions = decisionsOfParameter(spec);
  return jointChoices(decisions).reduce<Tensor>(
    (sum, chosen) => {
      const architecture = Object.fromEntries(chosen);
      const likely = decisions.reduce(
        (all, { name, choices }) => all * p[name][choices.indexOf(architecture[name])],
        1,
      );
      const small = sliceWeight(weight, spec, architecture);
      const starts = chosenRanges(spec, architecture).map(({ start }) => start);
      return add(sum, mul(placed(small, largestShape(spec), starts), likely)) as Tensor;
    },
    fromFloat64(new Float64Array(toFloat64(weight).length), weight.shape, "float64"),
  );
}

/** A tensor within zeros, from `starts` on. */
function placed(small: Tensor, shape: readonly number[], starts: readonly number[]): Tensor {
  const values = new Float64Array(shape.reduce((all, size) => all * size, 1));
  const from = toFloat64(small);
  for (let i = 0; i < from.length; i++) {
    let [rest, at, stride] = [i, 0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += (starts[axis] + (rest % small.shape[axis])) * stride;
      rest = Math.floor(rest / small.shape[axis]);
      stride *= shape[axis];
    }
    values[at] = from[i];
  }
  return fromFloat64(values, shape, "float64");
}

function drawn(shape: readonly number[], name: string): Tensor {
  const values = new Float64Array(shape.reduce((all, size) => all * size, 1));
  createRandom(1, name).normalsInto(values);
  return fromFloat64(values, shape, "float64");
}

const inputs = choice("in", [2, 4]);
const outputs = choice("out", [2, 4]);
const weight = float64([
  [1, 2, 3, 4],
  [5, 6, 7, 8],
  [-1, -2, -3, -4],
  [0.5, -0.5, 1.5, -1.5],
]);
const p = { in: vector([0.25, 0.75]), out: vector([2 / 3, 1 / 3]) };

test("the card's linear layer: superposed weight, bias and output", () => {
  const mixed = superpose(weight, { axes: [outputs, inputs] }, p) as Tensor;
  const expected = float64([
    [1, 2, 2.25, 3],
    [5, 6, 5.25, 6],
    [-1 / 3, -2 / 3, -0.75, -1],
    [1 / 6, -1 / 6, 0.375, -0.375],
  ]);
  expectClose(mixed, expected, 1e-12);
  const bias = superpose(vector([0.1, 0.2, 0.3, 0.4]), { axes: [outputs], joint: [inputs] }, p) as Tensor;
  expectClose(bias, vector([0.1, 0.2, 0.1, 0.4 / 3]), 1e-12);
  const y = linearOf(float64([[1, -1, 2, 0.5]]), mixed, bias) as Tensor;
  expectClose(y, float64([[5.1, 12.7, -1.5666666666666667, 1.0291666666666666]]), 1e-12);
});

test("the card's kernel: the middle of 3 × 3 beside the whole", () => {
  const side = centred(choice("kernel", [1, 3]));
  const kernel = float64([
    [1, 2, 3],
    [4, 5, 6],
    [7, 8, 9],
  ]);
  const mixed = superpose(kernel, { axes: [side, side] }, { kernel: vector([0.25, 0.75]) }) as Tensor;
  expectClose(
    mixed,
    float64([
      [0.75, 1.5, 2.25],
      [3, 5, 4.5],
      [5.25, 6, 6.75],
    ]),
    1e-12,
  );
});

const width = choice("width", [2, 3, 5]);
const ratio = choice("ratio", [1, 2]);
const kernel = choice("kernel", [1, 3, 5]);
const heads = choice("heads", [1, 2]);
const specs: Readonly<Record<string, readonly Axis[]>> = {
  "independent axes": [width, ratio, 3],
  "a convolution": [width, heads, centred(kernel), centred(kernel)],
  "hidden = ratio · width beside width": [product(ratio, width), width],
  "the same decision twice": [width, width],
  "three axes of one decision": [heads, heads, product(heads, 2)],
  "three kernel axes": [centred(kernel), centred(kernel), centred(kernel)],
  "two products that share one decision": [product(ratio, width), product(heads, width)],
  "a chain: the first shares with the second, the second with the third": [width, product(width, heads), heads],
  "a fixed multiple": [product(3, width), ratio],
};

test.each(Object.entries(specs))("coefficients are the explicit sum of padded slices: %s", (name, axes) => {
  const spec = { axes };
  const decisions = decisionsOfParameter(spec);
  const whole = drawn(largestShape(spec), name);
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { minLength: 9, maxLength: 9 }), (draws) => {
      let at = 0;
      const numbers = Object.fromEntries(
        decisions.map(({ name: each, choices }) => {
          const own = choices.map(() => draws[at++ % draws.length]);
          const total = own.reduce((sum, value) => sum + value, 0);
          return [each, own.map((value) => value / total)];
        }),
      );
      const values = Object.fromEntries(Object.entries(numbers).map(([each, own]) => [each, vector(own)]));
      expectClose(superpose(whole, spec, values) as Tensor, explicit(whole, spec, numbers), 1e-12);
    }),
    { numRuns: 8, seed: 5 },
  );
});

test("one layer call is the sum of all networks' outputs; gradients of alpha and weights are the explicit mixture's", () => {
  const spec = { axes: [outputs, inputs] };
  const w = input("w", "float64", [4, 4]);
  const x = float64([
    [1, -1, 2, 0.5],
    [0.3, 0.7, -2, 1],
  ]);
  const [pIn, pOut] = [input("in", "float64", [2]), input("out", "float64", [2])];
  const superposed = linearOf(x, superpose(w, spec, { in: pIn, out: pOut }));
  // The same by masks of 0 and 1, one call for each of the four networks.
  const masks = [0, 1].flatMap((o) =>
    [0, 1].map((i) => {
      const mask = placed(drawnOnes(outputs.choices[o], inputs.choices[i]), [4, 4], [0, 0]);
      const likely = mul(entry(pOut, o), entry(pIn, i));
      return mul(linearOf(x, mul(w, mask)), likely);
    }),
  );
  const mixture = masks.reduce((sum: Value, each) => add(sum, each));
  const feeds = { w: weight, in: vector([0.3, 0.7]), out: vector([0.6, 0.4]) };
  const values = (y: Value) => {
    const loss = reduceSum(mul(y, y), undefined, false);
    return evaluateTrace({ y, ...gradient(loss, { w, in: pIn, out: pOut }) } as Record<string, Value>, feeds);
  };
  const [found, expected] = [values(superposed), values(mixture)];
  for (const name of Object.keys(expected)) expectClose(found[name], expected[name], 1e-12);
});

const drawnOnes = (rows: number, columns: number) =>
  fromFloat64(new Float64Array(rows * columns).fill(1), [rows, columns], "float64");
const entry = (vectorValue: Value, i: number) =>
  reduceSum(mul(vectorValue, vector([Number(i === 0), Number(i === 1)])), [0]);

test("gradients of entries that more choices use are larger: scaled by c_out · c_in", () => {
  const w = input("w", "float64", [4, 4]);
  const y = superpose(w, { axes: [outputs, inputs] }, p);
  const slope = evaluateTrace({ g: gradient(reduceSum(y, undefined, false), w) }, { w: weight }).g;
  const [cOut, cIn] = [
    [1, 1, 1 / 3, 1 / 3],
    [1, 1, 0.75, 0.75],
  ];
  expectClose(slope, float64(cOut.map((o) => cIn.map((i) => o * i))), 1e-12);
});

test("slices are views of the largest weight", () => {
  const part = sliceWeight(weight, { axes: [outputs, inputs] }, { out: 2, in: 4 });
  expect(part.data).toBe(weight.data);
  expect(part.shape).toEqual([2, 4]);
  expect(padded(part, [4, 4]).shape).toEqual([4, 4]);
});

test("what does not fit is refused by name", () => {
  const spec: ParameterSpec = { axes: [outputs, inputs] };
  const code = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      return (error as LoomweightError).code;
    }
    return "nothing";
  };
  expect(code(() => superpose(vector([1, 2]), spec, p))).toBe("SHAPE_MISMATCH");
  expect(code(() => superpose(weight, spec, { in: p.in }))).toBe("MISSING_PROBABILITIES");
  expect(code(() => superpose(weight, spec, { in: p.in, out: vector([1, 0, 0]) }))).toBe("SHAPE_MISMATCH");
  expect(code(() => sliceWeight(weight, spec, { out: 3, in: 2 }))).toBe("INVALID_ARCHITECTURE");
  const bad: [string, readonly number[]][] = [
    ["a", [4, 2]],
    ["a", [2, 2]],
    ["a", [2]],
    ["", [1, 2]],
    ["a", [1.5, 2]],
    ["a", [-1, 2]],
  ];
  for (const [name, choices] of bad)
    expect(
      code(() => choice(name, choices)),
      `${choices}`,
    ).toBe("INVALID_OPTION");
  expect(code(() => centred(choice("kernel", [2, 3])))).toBe("INVALID_OPTION");
  const decisions: Decision[] = [inputs, outputs];
  expect(decisions.map(({ name }) => name)).toEqual(["in", "out"]);
});

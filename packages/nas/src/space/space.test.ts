import { LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { product } from "./axis.ts";
import { choice } from "./choice.ts";
import { initialWeights } from "./initial.ts";
import { convolutionSpace, fromDepth, linearSpace, normSpace } from "./layers.ts";
import { allArchitectures, chosenShape, countParameters, defineSpace, largestArchitecture } from "./space.ts";

const width = choice("width", [2, 4]);
const kernel = choice("kernel", [1, 3]);
const depth = choice("depth", [1, 2]);

const space = defineSpace({
  ...convolutionSpace("conv", { inputs: 3, outputs: width, kernel }),
  ...fromDepth(depth, 2, linearSpace("second", { inputs: width, outputs: width })),
  ...normSpace("norm", { size: width }),
  ...linearSpace("head", { inputs: product(width, 4), outputs: 10, bias: false }),
});

test("shapes and numbers of parameters follow the choices", () => {
  const small = { width: 2, kernel: 1, depth: 1 };
  expect(chosenShape(space.parameters["conv.weight"], { width: 2, kernel: 3, depth: 1 })).toEqual([2, 3, 3, 3]);
  expect(countParameters(space, small)).toBe(2 * 3 + 2 + 4 + 10 * 8);
  expect(countParameters(space, largestArchitecture(space))).toBe(4 * 27 + 4 + 16 + 4 + 8 + 10 * 16);
  expect(Object.keys(space.decisions).sort()).toEqual(["depth", "kernel", "width"]);
});

test("every network once, the last decision fastest", () => {
  const all = [...allArchitectures(space)];
  expect(all).toHaveLength(8);
  expect(new Set(all.map((each) => JSON.stringify(each))).size).toBe(8);
  expect(all[0]).toEqual({ width: 2, kernel: 1, depth: 1 });
  const last = Object.keys(space.decisions).at(-1) as string;
  expect(all[1]).toEqual({ ...all[0], [last]: space.decisions[last].choices[1] });
});

test("first weights are within PyTorch's bounds and depend on seed and name alone", () => {
  const [first, again, other] = [initialWeights(space, 1), initialWeights(space, 1), initialWeights(space, 2)];
  expect(again).toEqual(first);
  expect(other["conv.weight"]).not.toEqual(first["conv.weight"]);
  for (const name of ["conv.weight", "conv.bias"]) {
    const values = [...(first[name].data as Float32Array)];
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(27));
    expect(new Set(values).size).toBeGreaterThan(1);
  }
  expect([...(first["norm.weight"].data as Float32Array)]).toEqual([1, 1, 1, 1]);
  expect([...(first["norm.bias"].data as Float32Array)]).toEqual([0, 0, 0, 0]);
});

test("spaces and architectures that say two things are refused by name", () => {
  const two = {
    ...linearSpace("a", { inputs: 1, outputs: width }),
    ...linearSpace("b", { inputs: 1, outputs: choice("width", [1, 3]) }),
  };
  expect(() => defineSpace(two)).toThrow(/"width" has two lists of choices/);
  expect(() => defineSpace(linearSpace("a", { inputs: 0, outputs: 2 }))).toThrow(/whole number above 0/);
  expect(() => defineSpace(linearSpace("a", { inputs: choice("none", [0, 2]), outputs: 2 }))).toThrow(LoomweightError);
  expect(() => countParameters(space, { width: 3, kernel: 1, depth: 1 })).toThrow(/one of 2, 4/);
  expect(() => countParameters(space, { width: 2, kernel: 1, depth: 1, widht: 2 })).toThrow(/unknown decision "widht"/);
});

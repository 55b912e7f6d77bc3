import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers } from "../../test/contract.ts";
import { delora } from "./delora.ts";

const options = { rank: 2, bound: 15 };
adapterContract(delora, [{ what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options }]);

test("worked example of the page", () => {
  const params = {
    A: float64([3, 4], [1, 2]),
    B: float64([0, 2], [2, 1]),
    length: float64([10], [1]),
    norms: float64([1, 0.5], [2]),
  };
  const zero = [
    [0, 0],
    [0, 0],
  ];
  expectNumbers(foldRows(delora, zero, params, { rank: 1, bound: 15 }), [0, 0, 6, 4]);
});

test("the length of the factors does not matter", () => {
  const params = {
    A: numbers("A", [2, 3]),
    B: numbers("B", [4, 2]),
    length: float64([2], [1]),
    norms: numbers("n", [3]),
  };
  const longer = {
    ...params,
    A: float64(
      Array.from(params.A.data, (value) => value * 7),
      [2, 3],
    ),
  };
  const zero = Array.from({ length: 4 }, () => [0, 0, 0]);
  expectNumbers(foldRows(delora, zero, longer, options), foldRows(delora, zero, params, options));
});

test("a fresh adapter needs the weight", () => {
  const layer = { kind: "linear", in: 4, out: 6, storedShape: [6, 4] } as const;
  const random = { uniform: (_: string, shape: readonly number[]) => numbers("u", shape) } as never;
  expect(() => delora.init(layer, options, { random })).toThrow(/not given/);
});

import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { c3a } from "./c3a.ts";

adapterContract(c3a, [
  { what: "linear [6, 9], blocks of 3", kind: "linear", storedShape: [6, 9], options: { blockSize: 3 } },
  { what: "blocks of 1", kind: "linear", storedShape: [4, 5], options: { blockSize: 1 } },
]);

test("worked example of the page", () => {
  const zero = [
    [0, 0],
    [0, 0],
  ];
  expectNumbers(foldRows(c3a, zero, { kernel: float64([2, 4], [1, 1, 2]) }, { blockSize: 2 }), [1, 2, 2, 1]);
});

test("a block is the circular convolution with its kernel", () => {
  const [kernel, x] = [numbers("kernel", [1, 1, 5]), numbers("x", [5])];
  const block = foldRows(
    c3a,
    Array.from({ length: 5 }, () => [0, 0, 0, 0, 0]),
    { kernel },
    { blockSize: 5 },
  );
  for (let i = 0; i < 5; i++) {
    let [ours, theirs] = [0, 0];
    for (let j = 0; j < 5; j++) {
      ours += block[i * 5 + j] * x.data[j];
      theirs += (kernel.data[j] * x.data[(i + j) % 5]) / 5;
    }
    expect(ours).toBeCloseTo(theirs, 13);
  }
});

test("blocks that do not divide the layer are refused", () => {
  expect(() => c3a.params(layerOf("linear", [6, 8]), { blockSize: 3 })).toThrow(/divisor of 8/);
});

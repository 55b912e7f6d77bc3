import { test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows } from "../../test/contract.ts";
import { hira } from "./hira.ts";

const options = { rank: 2 };
adapterContract(hira, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
  { what: "GPT-2's Conv1D [4, 9]", kind: "transposedLinear", storedShape: [4, 9], options },
  { what: "embedding [11, 4]", kind: "embedding", storedShape: [11, 4], options },
  { what: "convolution [6, 3, 3, 2]", kind: "convolution", storedShape: [6, 3, 3, 2], options },
]);

test("worked example of the page", () => {
  const w = [
    [1, 2],
    [3, 4],
  ];
  const params = { A: float64([1, -1], [1, 2]), B: float64([0.5, 0.25], [2, 1]) };
  expectNumbers(foldRows(hira, w, params, { rank: 1 }), [1.5, 1, 3.75, 3]);
});

test("an entry of the weight that is zero stays zero", () => {
  const params = { A: float64([1, 1], [1, 2]), B: float64([9, 9], [2, 1]) };
  const w = [
    [0, 1],
    [1, 0],
  ];
  expectNumbers(foldRows(hira, w, params, { rank: 1 }), [0, 10, 10, 0]);
});

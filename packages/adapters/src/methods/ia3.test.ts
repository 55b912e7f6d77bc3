import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, plainNumbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import type { PeftConfig } from "../peft/format.ts";
import { ia3 } from "./ia3.ts";

const [outputs, inputs] = [{ feedforward: false }, { feedforward: true }];
adapterContract(ia3, [
  { what: "outputs of linear [6, 4]", kind: "linear", storedShape: [6, 4], options: outputs },
  { what: "inputs of linear [6, 4]", kind: "linear", storedShape: [6, 4], options: inputs },
  { what: "outputs of GPT-2's Conv1D [4, 9]", kind: "transposedLinear", storedShape: [4, 9], options: outputs },
  { what: "inputs of GPT-2's Conv1D [4, 9]", kind: "transposedLinear", storedShape: [4, 9], options: inputs },
  { what: "outputs of a convolution", kind: "convolution", storedShape: [6, 3, 3, 2], options: outputs },
  { what: "inputs of a convolution", kind: "convolution", storedShape: [6, 3, 3, 2], options: inputs },
]);

test("worked example of the page", () => {
  const w = [
    [1, 2],
    [3, 4],
  ];
  expectNumbers(foldRows(ia3, w, { scale: float64([2, -1], [2, 1]) }, outputs), [2, 4, -3, -4]);
  expectNumbers(foldRows(ia3, w, { scale: float64([2, -1], [1, 2]) }, inputs), [2, -2, 6, -4]);
});

test("the bias is scaled with the outputs and left alone with the inputs", () => {
  const layer = layerOf("linear", [2, 2]);
  const bias = float64([1, 2], [2]);
  const change = (scale: readonly number[], shape: readonly number[], options: typeof outputs) =>
    plainNumbers(ia3.bias?.change(bias, layer, { scale: float64(scale, shape) }, options));
  expect(change([3, 5], [2, 1], outputs)).toEqual([3, 10]);
  expect(change([3, 5], [1, 2], inputs)).toEqual([1, 2]);
});

test("a grouped convolution takes the numbers of its group's channels", () => {
  const layer = layerOf("convolution", [4, 1, 2]);
  const values = { ...layer, weight: float64([1, 1, 1, 1, 1, 1, 1, 1], [4, 2]), base: float64([], [0, 2]) };
  const scale = float64([2, 3], [1, 2, 1]);
  expect(ia3.params(layer, inputs, new Map([["scale", [1, 2, 1]]]))).toEqual({ scale: [1, 2, 1] });
  expect(plainNumbers(ia3.weight?.(values, { scale }, inputs, {}))).toEqual([2, 2, 2, 2, 3, 3, 3, 3]);
  const lower = { ...values, out: 2, offset: { out: 2, in: 0 }, weight: float64([1, 1, 1, 1], [2, 2]) };
  expect(plainNumbers(ia3.weight?.(lower, { scale }, inputs, {}))).toEqual([3, 3, 3, 3]);
});

test.for([
  [["down_proj"], "layers.0.down_proj", true],
  [["proj"], "layers.0.down_proj", true], // plain endings, without a dot
  [["down"], "layers.0.down_proj", false],
  [".*down_proj", "layers.0.down_proj", true],
  ["down_proj", "layers.0.down_proj", false], // a pattern is matched as a whole
  [null, "layers.0.down_proj", false],
] as const)("feedforward_modules %j on %s: %s", ([modules, path, feedforward]) => {
  const config = { feedforward_modules: modules } as PeftConfig;
  expect(ia3.files.moduleOptions?.(config, path, "adapter_config.json")).toEqual({ feedforward });
});

test("feedforward_modules of another kind are refused", () => {
  expect(() => ia3.files.moduleOptions?.({ feedforward_modules: 3 }, "a", "f")).toThrow(/feedforward_modules/);
});

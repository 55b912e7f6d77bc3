import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { expectNumbers, float64, layerValues, numbers, plainNumbers, testRandom } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { frod, roleOf } from "./frod.ts";

async function fold(
  weight: Tensor<"float64">,
  own: { basis: Tensor; diagonal: Tensor; values: Tensor; places: Tensor },
) {
  const layer = layerOf("linear", weight.shape);
  const context = { path: "a", layers: new Map(), layersInOrder: () => new Map(), weight: async () => weight };
  const made = await frod.prepare?.(layer, own as never, {}, context);
  const params = { ...own, turned: made?.turned } as never;
  const values = layerValues(layer, weight, undefined);
  const x = numbers("x", [3, weight.shape[1]]);
  return {
    weight: plainNumbers(frod.weight?.(values, params, {}, {})),
    applied: plainNumbers(frod.apply(values, params, x, {})),
    x,
  };
}
const places = (at: readonly number[]) => fromData("int64", BigInt64Array.from(at, BigInt), [2, at.length / 2]);

test("worked example of the page", async () => {
  // V = 2 I, so base · V⁻ᵀ = base / 2, whose columns have the lengths 2.5 and 1: U = [[0.6, 1], [0.8, 0]].
  const made = await fold(float64([3, 2, 4, 0], [2, 2]), {
    basis: float64([2, 0, 0, 2], [2, 2]),
    diagonal: float64([1, 3], [2]),
    values: float64([0.5], [1]),
    places: places([0, 1]),
  });
  // U (S + diag) = [[0.6, 3.3], [0.8, 0.4]]
  expectNumbers(made.weight, [1.2, 6.6, 1.6, 0.8]);
});

test("the lengths as diagonal and no other values give the base back, and apply is the layer with weight", async () => {
  const weight = numbers("w", [4, 3]);
  const basis = float64([1, 0, 0, 0, 1, 0, 0, 0, 1], [3, 3]);
  const lengths = [0, 1, 2].map((j) => Math.hypot(...[0, 1, 2, 3].map((i) => weight.data[i * 3 + j])));
  const made = await fold(weight, {
    basis,
    diagonal: float64(lengths, [3]),
    values: float64([0, 0], [2]),
    places: places([0, 2, 1, 0]),
  });
  expectNumbers(made.weight, Array.from(weight.data));
  for (let i = 0; i < 3; i++) {
    for (let o = 0; o < 4; o++) {
      const sum = [0, 1, 2].reduce((total, j) => total + made.x.data[i * 3 + j] * made.weight[o * 3 + j], 0);
      expect(made.applied[i * 4 + o]).toBeCloseTo(sum, 12);
    }
  }
});

test.for([
  ["model.layers.0.self_attn.q_proj", "self_attn_q_proj"],
  ["encoder.layer.3.output.dense", "output_dense"],
  ["encoder.layer.3.attention.output.dense", "attention_output"],
  ["blocks.7.fc", "7.fc"],
  ["head", "head"],
] as const)("the role of %s", ([path, role]) => {
  expect(roleOf(path)).toBe(role === "7.fc" ? "fc" : role);
});

test("a fresh adapter is refused", () => {
  expect(() => frod.init(layerOf("linear", [4, 3]), {}, { random: testRandom() })).toThrow(/not built/);
});

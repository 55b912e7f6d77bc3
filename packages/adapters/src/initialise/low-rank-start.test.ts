import { matMul, transpose } from "@loomweight/graph";
import { svd } from "@loomweight/linalg";
import { cast, contiguousData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { numbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import { startFactors } from "./low-rank-start.ts";

const layer = layerOf("linear", [64, 48]);
const options = { rank: 4, alpha: 8, rankStabilized: false };
const weight = numbers("w", [64, 48]);
const random = adapterRandom(3, "layer");
const wide = (tensor: Tensor) => cast(tensor, "float64");
const turned = (tensor: Tensor) => transpose(wide(tensor), [1, 0]) as Tensor;
const values = (tensor: unknown) => [...(contiguousData(tensor as Tensor) as Float32Array)];
const deviation = (tensor: Tensor) =>
  Math.sqrt(values(tensor).reduce((sum, value) => sum + value ** 2, 0) / values(tensor).length);

test("gaussian: A has the deviation 1 / rank and B is zero; an embedding has the roles reversed", () => {
  const { A, B } = startFactors(layerOf("linear", [64, 4096]), "gaussian", options, { random });
  expect([A.shape, B.shape]).toEqual([
    [4, 4096],
    [64, 4],
  ]);
  expect(Math.abs(deviation(A) - 0.25)).toBeLessThan(0.25 * 0.03); // about 5 standard errors of 16384 numbers
  expect(values(B).every((value) => value === 0)).toBe(true);
  const embedding = startFactors(layerOf("embedding", [11, 4096]), "gaussian", options, { random });
  expect(values(embedding.A).every((value) => value === 0)).toBe(true);
  expect(Math.abs(deviation(embedding.B) - 0.25)).toBeLessThan(0.25 * 0.03);
});

test("orthogonal: B A is zero though neither factor is, and an odd rank is refused", () => {
  const { A, B } = startFactors(layer, "orthogonal", options, { random });
  const product = matMul(wide(B), wide(A)) as Tensor;
  expect(Math.max(...values(product).map(Math.abs))).toBeLessThan(1e-7);
  expect(deviation(A)).toBeGreaterThan(0.03);
  expect(deviation(B)).toBeGreaterThan(0.03);
  expect(() => startFactors(layer, "orthogonal", { ...options, rank: 3 }, { random })).toThrow(/even/);
});

test("mica: B is an orthonormal basis of the smallest left directions, A is zero", () => {
  const { A, B } = startFactors(layer, "mica", options, { random, weight });
  expect(values(A).every((value) => value === 0)).toBe(true);
  const identity = values(matMul(turned(B), wide(B)));
  identity.forEach((value, i) => {
    expect(value).toBeCloseTo(i % 5 === 0 ? 1 : 0, 6);
  });
  // What the weight does along B is its four smallest singular values, and nothing else.
  const along = values(svd(matMul(turned(B), weight) as Tensor).singularValues);
  const smallest = values(svd(weight).singularValues).slice(-4);
  along.forEach((value, i) => {
    expect(value).toBeCloseTo(smallest[i], 5);
  });
  expect(() => startFactors(layer, "mica", options, { random })).toThrow(/weight/);
});

test("eva: A is the first rank components, B is zero; too few components are refused", () => {
  const components = numbers("c", [6, 48]);
  const { A, B } = startFactors(layer, "eva", options, { random, statistics: { components } });
  expect(A.shape).toEqual([4, 48]);
  expect(values(A)).toEqual(values(cast(components, "float32")).slice(0, 4 * 48));
  expect(values(B).every((value) => value === 0)).toBe(true);
  const few = { components: numbers("c", [3, 48]) };
  expect(() => startFactors(layer, "eva", options, { random, statistics: few })).toThrow(/at least 4/);
});

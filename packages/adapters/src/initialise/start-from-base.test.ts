import { gemm, matMul, mul, transpose } from "@loomweight/graph";
import { svd } from "@loomweight/linalg";
import { contiguousData, fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { largestDifference, numbers } from "../../test/contract.ts";
import { corda } from "./corda.ts";
import { loraGa } from "./lora-ga.ts";
import type { StartFromBase } from "./start-from-base.ts";

const weight = numbers("w", [6, 5]);
const inputs = numbers("x", [40, 5]);
const turned = (matrix: Tensor) => transpose(matrix, [1, 0]) as Tensor;
const covariance = matMul(turned(inputs), inputs) as Tensor;
const product = ({ A, B }: StartFromBase, scale: number) => mul(matMul(B, A), scale) as Tensor;
const whole = (start: StartFromBase, scale: number) => gemm(mul(start.B, scale), start.A, start.base) as Tensor;

test("base and update are the weight together", () => {
  for (const start of [
    corda(weight, covariance, { rank: 2, scale: 3 }),
    corda(weight, covariance, { rank: 2, scale: 3, mode: "kpm" }),
    loraGa(weight, numbers("g", [6, 5]), { rank: 2, scale: 3 }),
  ]) {
    expect(largestDifference(whole(start, 3), weight)).toBeLessThan(1e-12);
  }
});

test("corda's largest and smallest directions make up the weight", () => {
  const most = corda(weight, covariance, { rank: 3, scale: 2, mode: "ipm" });
  const rest = corda(weight, covariance, { rank: 2, scale: 2, mode: "kpm" });
  expect(largestDifference(most.base, product(rest, 2))).toBeLessThan(1e-11);
});

test("corda with a covariance of the identity is the singular value decomposition of the weight", () => {
  const identity = fromData(
    "float64",
    Float64Array.from({ length: 25 }, (_, i) => (i % 6 === 0 ? 1 : 0)),
    [5, 5],
  );
  const { u, singularValues, vt } = svd(weight, { rank: 2 });
  const largest = matMul(mul(u, singularValues), vt) as Tensor;
  expect(largestDifference(product(corda(weight, identity, { rank: 2, scale: 0.5 }), 0.5), largest)).toBeLessThan(
    1e-12,
  );
});

test("lora-ga's factors are of the gradient's directions: G Aᵀ and Gᵀ B keep their lengths", () => {
  const gradient = numbers("g", [6, 5]);
  const sizes = contiguousData(svd(gradient).singularValues) as Float64Array;
  const gamma = 4;
  const factor = 6 ** 0.25 / 2;
  for (const [direction, ofA, ofB] of [
    ["ArBr", [1, 3], [0, 2]],
    ["A2rBr", [2, 3], [0, 1]],
    ["ArB2r", [0, 1], [2, 3]],
  ] as const) {
    const { A, B } = loraGa(weight, gradient, { rank: 2, scale: 1, direction, stableGamma: gamma });
    const along = svd(matMul(gradient, turned(A)) as Tensor).singularValues;
    const across = svd(B).singularValues;
    for (const i of [0, 1]) {
      expect((contiguousData(along) as Float64Array)[i]).toBeCloseTo(sizes[ofA[i]], 10);
      expect((contiguousData(across) as Float64Array)[i]).toBeCloseTo(sizes[ofB[i]] * factor, 10);
    }
  }
});

test("corda solves with the damped covariance", () => {
  // A C has orthogonal rows once C is damped by 0.01 of its mean diagonal.
  const entries = Float64Array.from(contiguousData(covariance) as Float64Array);
  let trace = 0;
  for (let i = 0; i < 5; i++) trace += entries[i * 6];
  for (let i = 0; i < 5; i++) entries[i * 6] += (0.01 * trace) / 5;
  const damped = fromData("float64", entries, [5, 5]);
  const back = matMul(corda(weight, covariance, { rank: 2, scale: 1 }).A, damped) as Tensor;
  const gram = contiguousData(matMul(back, turned(back)) as Tensor) as Float64Array;
  expect(gram[1]).toBeCloseTo(0, 8);
});

test("what does not fit is refused by name", () => {
  expect(() => corda(weight, covariance, { rank: 6, scale: 1 })).toThrow(/from 1 to 5/);
  expect(() => corda(weight, covariance, { rank: 2, scale: 0 })).toThrow(/above 0/);
  expect(() => corda(weight, numbers("c", [4, 4]), { rank: 2, scale: 1 })).toThrow(/covariance/);
  expect(() => loraGa(weight, weight, { rank: 3, scale: 1 })).toThrow(/from 1 to 2/);
  expect(() => loraGa(weight, numbers("g", [5, 6]), { rank: 2, scale: 1 })).toThrow(/gradient/);
});

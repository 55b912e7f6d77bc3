import { expect, test } from "vitest";
import { probabilitiesOf, samplerContract } from "../../test/sampler-contract.ts";
import { sparsemaxOf } from "../relax/sparsemax.ts";
import { darts } from "./darts.ts";

samplerContract(darts);
samplerContract(darts, {}, { relaxation: "sparsemax" });

test("the card's examples: softmax of [0, ln 3], sparsemax of [0.1, 0.5, 1.2]", () => {
  const soft = probabilitiesOf(darts(), [0, Math.log(3)], { inputs: {} });
  for (const [i, each] of [0.25, 0.75].entries()) expect(soft.p[i]).toBeCloseTo(each, 12);
  const sparse = probabilitiesOf(darts({ relaxation: "sparsemax" }), [0.1, 0.5, 1.2], { inputs: {} });
  for (const [i, each] of [0, 0.15, 0.85].entries()) {
    expect(sparse.p[i]).toBeCloseTo(each, 12);
    expect(sparsemaxOf([0.1, 0.5, 1.2])[i]).toBeCloseTo(each, 12);
  }
});

test("sparsemax: choices outside of the support get no gradient, ties share", () => {
  const { slope } = probabilitiesOf(darts({ relaxation: "sparsemax" }), [0.1, 0.5, 1.2], { inputs: {} }, [7, 1, 3]);
  expect(slope[0]).toBe(0);
  expect(slope[1]).toBeCloseTo(-1, 12); // 1 − mean(1, 3)
  expect(slope[2]).toBeCloseTo(1, 12);
  expect(sparsemaxOf([1, 1, 0])).toEqual([0.5, 0.5, 0]);
  expect(probabilitiesOf(darts({ relaxation: "sparsemax" }), [1, 1, 0], { inputs: {} }).p).toEqual([0.5, 0.5, 0]);
});

import { expect, test } from "vitest";
import { probabilitiesOf, samplerContract } from "../../test/sampler-contract.ts";
import { spos } from "./spos.ts";

samplerContract(spos, { "its gradient reaches alpha": "alpha is not learned" });

test("alpha has no say: no gradient, uniform whatever it is", () => {
  expect(spos().trains).toBe(false);
  expect(probabilitiesOf(spos(), [3, -3], { inputs: { hard: [0, 1] } }).slope).toEqual([0, 0]);
  expect(spos().mean([5, 0, 0, 0])).toEqual([0.25, 0.25, 0.25, 0.25]);
});

import { expect, test } from "vitest";
import { layerOf } from "../layer.ts";
import { lora } from "../methods/lora.ts";
import { adapterRandom } from "./adapter-random.ts";

const options = { rank: 4, alpha: 8, rankStabilized: false, outputBias: false, init: "uniform" as const };
const fresh = (seed: number, module: string) =>
  lora.init(layerOf("linear", [8, 100]), options, { random: adapterRandom(seed, module) });

test("fresh parameters depend on seed and module alone", () => {
  expect(fresh(1, "a.q_proj")).toEqual(fresh(1, "a.q_proj"));
  expect(fresh(1, "a.q_proj").A.data).not.toEqual(fresh(2, "a.q_proj").A.data);
  expect(fresh(1, "a.q_proj").A.data).not.toEqual(fresh(1, "a.v_proj").A.data);
});

test("A is uniform in plus or minus one over the root of in, B is zero", () => {
  const { A, B } = fresh(3, "m");
  const values = [...(A.data as Float32Array)];
  expect(Math.max(...values)).toBeLessThanOrEqual(0.1);
  expect(Math.max(...values)).toBeGreaterThan(0.08);
  expect(Math.min(...values)).toBeLessThan(-0.08);
  expect([...(B.data as Float32Array)].every((value) => value === 0)).toBe(true);
});

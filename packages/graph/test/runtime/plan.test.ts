import { tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { input, lazyTensor, matMul, parameter } from "../../src/index.ts";
import { openSession } from "../../src/node/index.ts";
import { planProgram } from "../../src/runtime/plan.ts";

test("weights beyond what a model file carries travel beside it", async () => {
  const values = Array.from({ length: 20 * 30 }, (_, i) => i);
  const x = input("x", "float32", [1, 20]);
  const y = matMul(x, parameter("w", lazyTensor(tensor(values, [20, 30]))));
  const inside = await planProgram({ outputs: { y } });
  expect(inside.externalData).toEqual([]);
  const { model, externalData } = await planProgram({ outputs: { y } }, undefined, { mostInside: 100 });
  expect(model.length).toBeLessThan(inside.model.length / 4);
  expect(externalData.map(({ data }) => data.length)).toEqual([2400]);
  const session = await openSession(model, {
    externalData: Object.fromEntries(externalData.map(({ path, data }) => [path, data])),
  });
  const one = tensor([0, 1, ...new Array(18).fill(0)], [1, 20]);
  const { "output/y": product } = await session.run({ x: one });
  expect([...(product.data as Float32Array)]).toEqual(values.slice(30, 60));
  await session.close();
});

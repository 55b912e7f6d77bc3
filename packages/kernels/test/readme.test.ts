import { expect, test } from "vitest";
import { createKernels, createRandom } from "../src/index.ts";

test("the examples of the README give what it says", () => {
  const kernels = createKernels({ bytes: 1 << 20 });
  const a = kernels.allocate(6);
  a.set([0x80, 0x3f, 0x00, 0x40, 0x40, 0x40]);
  const b = kernels.allocate(6);
  b.set([0x40, 0x40, 0x00, 0x40, 0x80, 0x3f]);
  const sum = kernels.allocateValues(3);
  kernels.addScaledCodes(sum, "bfloat16", a, 0.5);
  kernels.addScaledCodes(sum, "bfloat16", b, 0.5);
  expect([...sum]).toEqual([2, 2, 2]);
  const out = kernels.allocate(6);
  kernels.store("bfloat16", out, sum);
  expect([...out]).toEqual([0, 0x40, 0, 0x40, 0, 0x40]);

  const random = createRandom(42, "model.layers.0.mlp.up_proj.weight");
  const tile = new Float64Array(1024);
  random.normalsInto(tile, { start: 4096, deviation: 0.02 });
  expect(tile[7]).toBe(0.02 * random.normal(4103));
});

import { assemble, input } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { sessionOf } from "../../test/run.ts";
import { cosSin } from "./cos-sin.ts";

test("cosine and sine are right to 2e-7 at angles up to a million, by operators that every provider has", async () => {
  const angles = Float32Array.from({ length: 4096 }, (_, i) => (i < 64 ? (i * Math.PI) / 16 : 1.00344 ** (i - 64) - 1));
  expect(angles.at(-1)).toBeGreaterThan(1e6);
  const x = input("x", "float32", ["n"]);
  const { cos, sin } = cosSin(x);
  const model = assemble({ name: "angles", inputs: [x], outputs: { cos, sin } });
  expect([...new Set(model.graph.nodes.map(({ op }) => op))].sort()).toEqual(["Add", "Floor", "Mul", "Sub"]);
  const session = await sessionOf(model);
  const made = await session.run({ x: fromData("float32", angles, [angles.length]) });
  await session.close();
  for (const [i, angle] of angles.entries()) {
    expect(Math.abs(Number(made.cos.data[i]) - Math.cos(angle)), `cos ${angle}`).toBeLessThanOrEqual(2e-7);
    expect(Math.abs(Number(made.sin.data[i]) - Math.sin(angle)), `sin ${angle}`).toBeLessThanOrEqual(2e-7);
  }
});

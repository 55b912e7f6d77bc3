import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { merge, ties } from "../src/index.ts";

test("the README's example gives what it says", async () => {
  const vector = (...numbers: number[]) => fromData("float32", Float32Array.from(numbers), [numbers.length]);
  const merged = await merge(
    ties,
    { base: vector(0, 0, 0, 0), models: [vector(2, -1, 3, 0), vector(-4, -3, 1, 0)] },
    { density: 0.5 },
  );
  expect(merged.data).toEqual(Float32Array.of(-4, -3, 3, 0));
});

import { fromData, type Tensor } from "@loomweight/tensor";
import { add, mul, neg } from "../ops/elementwise.ts";
import { concat, split } from "../ops/shape.ts";
import type { Value } from "../value.ts";
import { sizesOf } from "./parameters.ts";

/** Cosines and sines [length, size] of positions 0 … length − 1: angle position · theta^(−2i / size), both halves alike. */
export function ropeTables(length: number, size: number, theta = 10000): { cosines: Tensor; sines: Tensor } {
  const half = size / 2;
  const cosines = new Float32Array(length * size);
  const sines = new Float32Array(length * size);
  for (let position = 0; position < length; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * Math.fround(theta ** ((-2 * i) / size)));
      for (const at of [position * size + i, position * size + half + i]) {
        cosines[at] = Math.cos(angle);
        sines[at] = Math.sin(angle);
      }
    }
  }
  return { cosines: fromData("float32", cosines, [length, size]), sines: fromData("float32", sines, [length, size]) };
}

/**
 * x [batch, heads, length, size] turned by its position: x · cos + (−second half, first half) · sin. Su et al. 2021,
 * arXiv:2104.09864, in Llama's layout.
 */
export function rotate(x: Value, { theta = 10000 }: { readonly theta?: number } = {}): Value {
  const [, , length, size] = sizesOf(x, "rope");
  const { cosines, sines } = ropeTables(length, size, theta);
  const [first, second] = split(x, [size / 2, size / 2], 3);
  return add(mul(x, cosines), mul(concat([neg(second), first], 3), sines));
}

import { createRandom, fromData, normal, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { gradient } from "../src/gradient/gradient.ts";
import { input, lazyTensor, parameter } from "../src/inputs.ts";
import { mul } from "../src/ops/elementwise.ts";
import { matMulNBits } from "../src/ops/quantized.ts";
import { reduceSum } from "../src/ops/reduce.ts";
import type { Value } from "../src/value.ts";
import { runNatively } from "./gradient-cases.ts";

const random = createRandom(5, "quantized");
const floats = (name: string, shape: number[]): Tensor<"float32"> =>
  fromData("float32", normal(shape, random.child(name), { deviation: 1 }).data as Float32Array, shape);
const bytes = (name: string, shape: number[]): Tensor<"uint8"> => {
  const words = new Uint32Array(shape.reduce((a, b) => a * b, 1));
  random.child(name).uint32sInto(words);
  return fromData(
    "uint8",
    Uint8Array.from(words, (word) => word & 255),
    shape,
  );
};

interface Form {
  readonly bits: 2 | 4 | 8;
  readonly zeros: boolean;
  /** Weights as parameters that are read when the model is written. */
  readonly lazy: boolean;
}

const [k, n, block] = [64, 6, 32];

async function gradients({ bits, zeros, lazy }: Form) {
  const blocks = k / block;
  const codes = bytes("codes", [n, blocks, (block * bits) / 8]);
  const scales = floats("scales", [n, blocks]);
  const zeroPoints = zeros ? bytes("zeros", [n, Math.ceil((blocks * bits) / 8)]) : undefined;
  const held = (name: string, tensor: Tensor): Value => (lazy ? parameter(name, lazyTensor(tensor)) : tensor);
  const x = input("x", "float32", [2, 3, k]);
  const y = matMulNBits(x, held("codes", codes), held("scales", scales), { k, n, bits, blockSize: block }, zeroPoints);
  const weights = input("g", "float32", [2, 3, n]);
  const dx = gradient(reduceSum(mul(y, weights), undefined, false), x);
  const feeds = { x: floats("x", [2, 3, k]), g: floats("g", [2, 3, n]) };
  const found = await runNatively({ inputs: [x, weights], feeds, results: { y, dx } }, 21);
  // The weight by hand, from the packed codes.
  const code = (data: Uint8Array, at: number) => (data[(at * bits) >> 3] >> ((at * bits) & 7)) & (2 ** bits - 1);
  const weight = (row: number, column: number): number => {
    const at = Math.floor(column / block);
    const zero =
      zeroPoints === undefined ? 2 ** (bits - 1) : code(zeroPoints.data.subarray(row * zeroPoints.shape[1]), at);
    return (code(codes.data, row * k + column) - zero) * scales.data[row * blocks + at];
  };
  const expected = Array.from({ length: 6 * k }, (_, i) => {
    const [row, column] = [Math.floor(i / k), i % k];
    let sum = 0;
    for (let j = 0; j < n; j++) sum += feeds.g.data[row * n + j] * weight(j, column);
    return sum;
  });
  return { found: [...found.dx.values], expected };
}

for (const form of [
  { bits: 4, zeros: false, lazy: true },
  { bits: 4, zeros: true, lazy: false },
  { bits: 8, zeros: true, lazy: true },
  { bits: 2, zeros: false, lazy: false },
] as const) {
  test(`MatMulNBits of ${form.bits} bits${form.zeros ? " with zero points" : ""}: dx = dy W`, async () => {
    const { found, expected } = await gradients(form);
    const largest = Math.max(...expected.map(Math.abs));
    for (const [i, value] of expected.entries()) expect(Math.abs(found[i] - value) / largest).toBeLessThan(1e-5);
  });
}

test("quantized weights themselves get no gradient: refused by name", () => {
  const x = input("x", "float32", [1, 64]);
  const scales = input("scales", "float32", [n, 2]);
  const y = matMulNBits(x, bytes("codes", [n, 2, 16]), scales, { k, n, bits: 4, blockSize: block });
  expect(() => gradient(reduceSum(y, undefined, false), scales)).toThrow(/MatMulNBits.*activations and bias only/);
});

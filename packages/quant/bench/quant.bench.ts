import { fromData, type Tensor } from "@loomweight/tensor";
import {
  dequantizeBlocks,
  quantizeBlocks,
  quantizeBnb4,
  quantizeGatherBlocks,
  quantizeInt8,
  toFloat16Clamped,
} from "../src/index.ts";

/** Nanoseconds a weight of every quantizer, the best run of half a second. Run: pnpm --filter @loomweight/quant bench */
const K = 2048;
const N = 64;

/** Normal-looking weights, the same every time. */
function values(count: number): Float32Array {
  const out = new Float32Array(count);
  let state = 1;
  for (let i = 0; i < count; i++) {
    let sum = 0;
    for (let j = 0; j < 4; j++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32 - 0.5;
    }
    out[i] = sum;
  }
  return out;
}

const floats = values(K * N);
const halves = Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >>> 16);
const rows: Tensor = { ...fromData("float32", floats, [N, K]), shape: [K, N], stride: [1, K] };
const brainRows: Tensor = { ...fromData("bfloat16", halves, [N, K]), shape: [K, N], stride: [1, K] };
const columns: Tensor = fromData("float32", floats, [K, N]);

const quantized = quantizeBlocks(rows);

function time(name: string, run: () => unknown): void {
  let best = Number.POSITIVE_INFINITY;
  const until = performance.now() + 500;
  do {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < until);
  console.log(`${name.padEnd(48)} ${((best * 1e6) / (K * N)).toFixed(2)} ns/weight`);
}

for (const bits of [4, 8, 2] as const) {
  time(`q${bits} block 32 symmetric, stored [out, in]`, () => quantizeBlocks(rows, { bits }));
}
time("q4 block 32 asymmetric, stored [out, in]", () => quantizeBlocks(rows, { symmetric: false }));
time("q4 block 32 symmetric, bfloat16 [out, in]", () => quantizeBlocks(brainRows));
time("q4 block 32 symmetric, stored [in, out]", () => quantizeBlocks(columns));
time("q4 dequantize", () => dequantizeBlocks(quantized));
time("nf4 block 64", () => quantizeBnb4(rows));
time("int4 table block 32", () => quantizeGatherBlocks(columns));
time("int8, one scale", () => quantizeInt8(columns));
time("uint8, a scale a column", () => quantizeInt8(columns, { type: "uint8", axis: 1 }));
time("float16", () => toFloat16Clamped(columns));

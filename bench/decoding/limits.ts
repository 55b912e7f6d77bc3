// What onnxruntime's matrix products reach here: limits.ts THREADS. One product with a weight of 256 MB, larger than any cache:
// a row times it is bound by memory, 128 rows by arithmetic. Decoding cannot be faster than its weights at these rates.
import { assemble, encodeOnnx, input, lazyTensor, matMul, parameter } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";

const threads = Number(process.argv[2] ?? 1);
const [inner, out] = [4096, 16384];
const weight = fromData("float32", new Float32Array(inner * out).fill(0.01), [inner, out]);
const x = input("x", "float32", ["rows", inner]);
const model = assemble({ name: "limits", inputs: [x], outputs: { y: matMul(x, parameter("w", lazyTensor(weight))) } });
const session = await ort.InferenceSession.create(await encodeOnnx(model), { intraOpNumThreads: threads });
const least = async (rows: number, runs: number) => {
  const feeds = { x: new ort.Tensor("float32", new Float32Array(rows * inner).fill(1), [rows, inner]) };
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const began = performance.now();
    await session.run(feeds);
    best = Math.min(best, performance.now() - began);
  }
  return best;
};
const [row, many] = [await least(1, 40), await least(128, 8)];
const gigabytes = (4 * inner * out) / row / 1e6;
const gigaflops = (2 * 128 * inner * out) / many / 1e6;
console.log(`${threads} thread(s): ${gigabytes.toFixed(1)} GB/s of float32 weights, ${gigaflops.toFixed(0)} GFLOP/s`);
await session.release();

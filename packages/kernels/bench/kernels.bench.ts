/**
 * Nanoseconds an element of every kernel on blocks that stay in the cache, and the GFLOP/s of gemm.
 * Run: `pnpm --filter @loomweight/kernels bench` (add `plain` for the JavaScript twins).
 */
import { codeBytes, createKernels, createRandom, type KernelDType, plainKernels } from "../src/index.ts";

const count = 16384;
const kernels = process.argv.includes("plain") ? plainKernels() : createKernels();
const out = kernels.allocateValues(count);
const a = kernels.allocateValues(count);
const b = kernels.allocateValues(count);
createRandom(1, "bench").normalsInto(a, { deviation: 0.02 });
createRandom(1, "bench b").normalsInto(b, { deviation: 0.02 });

/** Best of many runs, in nanoseconds a call. */
function nanoseconds(call: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  const until = performance.now() + 150;
  do {
    const start = performance.now();
    for (let i = 0; i < 8; i++) call();
    best = Math.min(best, ((performance.now() - start) * 1e6) / 8);
  } while (performance.now() < until);
  return best;
}

function line(name: string, call: () => void): void {
  console.log(`${name.padEnd(32)} ${(nanoseconds(call) / count).toFixed(3).padStart(8)} ns/element`);
}

console.log(`${kernels.engine} kernels, blocks of ${count} elements`);
for (const dtype of Object.keys(codeBytes) as KernelDType[]) {
  const codes = kernels.allocate(count * codeBytes[dtype]);
  line(`store ${dtype}`, () => kernels.store(dtype, codes, a));
  line(`load ${dtype}`, () => kernels.load(out, dtype, codes));
  line(`addScaledCodes ${dtype}`, () => kernels.addScaledCodes(out, dtype, codes, 0.5));
}
// The mean of two bfloat16 of one exponent lies half-way between codes every other time: the slow path of rounding.
const codes = kernels.allocate(2 * count);
for (const source of [a, b]) {
  kernels.store("bfloat16", codes, source);
  kernels.load(source, "bfloat16", codes);
}
kernels.add(out, a, b);
line("store bfloat16, many ties", () => kernels.store("bfloat16", codes, out));
line("add", () => kernels.add(out, a, b));
line("divide", () => kernels.divide(out, a, b));
line("addScaled", () => kernels.addScaled(out, a, 0.5));
line("affine", () => kernels.affine(out, a, 0.5, 1));
line("abs", () => kernels.abs(out, a));
line("sqrt", () => kernels.sqrt(out, out));
line("clamp", () => kernels.clamp(out, a, -0.01, 0.01));
line("keepAbove", () => kernels.keepAbove(out, a, 0.01));
line("signConsensus of 3", () => kernels.signConsensus(out, b, [a, a, b], [1, 1, 1]));
line("sum", () => kernels.sum(a));
line("dot", () => kernels.dot(a, b));
line("maxAbs", () => kernels.maxAbs(a));
line("firstNonFinite", () => kernels.firstNonFinite(a));
const countsBlock = kernels.allocate(4 * 65536);
const counts = new Uint32Array(countsBlock.buffer, countsBlock.byteOffset, 65536);
line("countMagnitudes level 0", () => kernels.countMagnitudes(counts, a, 0, 0n));
line("countMagnitudes level 1", () => kernels.countMagnitudes(counts, a, 1, 0x3f8n));
line("bernoulliMask", () => kernels.bernoulliMask(out, [1, 2], 0, 0.5));

for (const [m, n, k] of [
  [256, 256, 256],
  [512, 512, 512],
  [896, 896, 16],
  [1, 896, 896],
]) {
  const mark = kernels.mark();
  const [c, x, y] = [m * n, m * k, k * n].map((size) => kernels.allocateValues(size).fill(0.5));
  const rate = (2 * m * n * k) / nanoseconds(() => kernels.gemm(c, x, y, m, n, k, 1));
  console.log(`${`gemm ${m} x ${n} x ${k}`.padEnd(32)} ${rate.toFixed(2).padStart(8)} GFLOP/s`);
  kernels.release(mark);
}

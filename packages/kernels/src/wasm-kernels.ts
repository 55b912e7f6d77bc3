import { checked } from "./checks.ts";
import { wasmBase64 } from "./generated/kernels.wasm.ts";
import { defaultBytes, type KernelOptions, memoryBytes } from "./kernel-options.ts";
import type { CodedDType, KernelDType, KernelFunctions, Kernels } from "./kernels.ts";
import { layout } from "./layout.ts";
import { createMemory } from "./memory.ts";
import { plainKernels } from "./plain/kernels.ts";
import { smallFloatValues } from "./small-floats.ts";

type Export = (...values: (number | bigint)[]) => number;
type Exports = Readonly<Record<string, Export>>;

const pageBytes = 65536;

/** The module is compiled at most once; undefined where the engine refuses it. */
let compiled: { module: WebAssembly.Module | undefined } | undefined;

function compile(): WebAssembly.Module | undefined {
  if (compiled === undefined) {
    let module: WebAssembly.Module | undefined;
    try {
      module = new WebAssembly.Module(Uint8Array.from(atob(wasmBase64), (character) => character.charCodeAt(0)));
    } catch {
      // No WebAssembly, no SIMD, or a content security policy that forbids it: the plain kernels give the same results.
    }
    compiled = { module };
  }
  return compiled.module;
}

/** The compiled module, to be posted to workers so that they need not compile it; undefined where the engine refuses it. */
export function kernelModule(): WebAssembly.Module | undefined {
  return compile();
}

/** Whether `createKernels` gives WebAssembly kernels here. */
export function wasmSupported(): boolean {
  return compile() !== undefined;
}

/**
 * A kernel set with memory of its own: WebAssembly SIMD where the engine has it, else `plainKernels`. Results are the
 * same bytes. Throws `KERNEL_ARGUMENT` for bad `bytes`; `RangeError` of the engine when the memory cannot be had.
 */
export function createKernels(options: KernelOptions = {}): Kernels {
  const module = options.module ?? compile();
  if (module === undefined) return plainKernels(options);
  const pages = Math.ceil((layout.user + memoryBytes(options.bytes ?? defaultBytes)) / pageBytes);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const { buffer } = memory;
  for (const [dtype, at] of [
    ["float8_e4m3fn", layout.e4m3Values],
    ["float8_e5m2", layout.e5m2Values],
    ["float8_e8m0fnu", layout.e8m0Values],
  ] as const) {
    new Float64Array(buffer, at, 256).set(smallFloatValues(dtype));
  }
  const functions = wasmFunctions(instance.exports as unknown as Exports, buffer);
  return { engine: "wasm", ...createMemory(buffer, layout.user), ...checked(functions, buffer) };
}

const exportSuffix: Readonly<Record<KernelDType, string>> = {
  float64: "Float64",
  float32: "Float32",
  float16: "Float16",
  bfloat16: "Bfloat16",
  float8_e4m3fn: "Float8E4m3fn",
  float8_e5m2: "Float8E5m2",
  float8_e8m0fnu: "Float8E8m0fnu",
  int8: "Int8",
  uint8: "Uint8",
  int16: "Int16",
  uint16: "Uint16",
  int32: "Int32",
  uint32: "Uint32",
  int64: "Int64",
  uint64: "Uint64",
  bool: "Bool",
};

/** Numbers of dtypes in assembly/widen.ts. */
const codedDTypes: Readonly<Record<CodedDType, number>> = { float32: 0, float16: 1, bfloat16: 2 };

function byDType(exports: Exports, prefix: string): Readonly<Record<KernelDType, Export>> {
  const entries = Object.entries(exportSuffix).map(([dtype, suffix]) => [dtype, exports[`${prefix}${suffix}`]]);
  return Object.fromEntries(entries) as Record<KernelDType, Export>;
}

/** The exports of the module, taking views where they take addresses. */
function wasmFunctions(exports: Exports, buffer: ArrayBuffer): KernelFunctions {
  const loaders = byDType(exports, "load");
  const storers = byDType(exports, "store");
  const adders = byDType(exports, "addScaled");
  const subtractors = byDType(exports, "subtractFrom");
  const pointers = new Uint32Array(buffer, layout.listPointers, 1024);
  const listWeights = new Float64Array(buffer, layout.listWeights, 1024);
  const list = (inputs: readonly Float64Array[], weights: readonly number[]): void => {
    for (let j = 0; j < inputs.length; j++) {
      pointers[j] = inputs[j].byteOffset;
      listWeights[j] = weights[j];
    }
  };
  return {
    load(values, dtype, codes) {
      loaders[dtype](values.byteOffset, codes.byteOffset, values.length);
    },
    store(dtype, codes, values) {
      storers[dtype](codes.byteOffset, values.byteOffset, values.length);
    },
    fill(out, value) {
      exports.fill(out.byteOffset, out.length, value);
    },
    addScaledCodes(out, dtype, codes, weight) {
      adders[dtype](out.byteOffset, codes.byteOffset, out.length, weight);
    },
    subtractFromCodes(out, dtype, codes, b) {
      subtractors[dtype](out.byteOffset, codes.byteOffset, out.length, b.byteOffset);
    },
    addScaled(out, x, weight) {
      exports.addScaled(out.byteOffset, x.byteOffset, out.length, weight);
    },
    add(out, a, b) {
      exports.add(out.byteOffset, a.byteOffset, b.byteOffset, out.length);
    },
    subtract(out, a, b) {
      exports.subtract(out.byteOffset, a.byteOffset, b.byteOffset, out.length);
    },
    multiply(out, a, b) {
      exports.multiply(out.byteOffset, a.byteOffset, b.byteOffset, out.length);
    },
    divide(out, a, b) {
      exports.divide(out.byteOffset, a.byteOffset, b.byteOffset, out.length);
    },
    affine(out, a, scale, shift) {
      exports.affine(out.byteOffset, a.byteOffset, out.length, scale, shift);
    },
    abs(out, a) {
      exports.absolute(out.byteOffset, a.byteOffset, out.length);
    },
    sqrt(out, a) {
      exports.squareRoot(out.byteOffset, a.byteOffset, out.length);
    },
    clamp(out, a, low, high) {
      exports.clamp(out.byteOffset, a.byteOffset, out.length, low, high);
    },
    keepAbove(out, a, threshold) {
      exports.keepAbove(out.byteOffset, a.byteOffset, out.length, threshold);
    },
    keepWhere(out, a, where) {
      exports.keepWhere(out.byteOffset, a.byteOffset, where.byteOffset, out.length);
    },
    keepBits(out, a, bits, first) {
      exports.keepBits(out.byteOffset, a.byteOffset, bits.byteOffset, first, out.length);
    },
    nonZeroBits(bits, a) {
      exports.nonZeroBits(bits.byteOffset, a.byteOffset, a.length);
    },
    divideUnlessSmall(out, a, b, limit) {
      exports.divideUnlessSmall(out.byteOffset, a.byteOffset, b.byteOffset, out.length, limit);
    },
    signConsensus(sum, weightSum, inputs, weights) {
      list(inputs, weights);
      exports.signConsensus(sum.byteOffset, weightSum.byteOffset, inputs.length, sum.length);
    },
    weightedConsensus(out, inputs, weights, normalize, limit) {
      list(inputs, weights);
      return exports.weightedConsensus(out.byteOffset, inputs.length, out.length, normalize ? 1 : 0, limit) !== 0;
    },
    electedMean(out, base, inputs, weights, floor) {
      list(inputs, weights);
      exports.electedMean(out.byteOffset, base.byteOffset, inputs.length, out.length, floor);
    },
    variance(out, inputs) {
      list(inputs, []);
      exports.variance(out.byteOffset, inputs.length, out.length);
    },
    sum: (a) => exports.sum(a.byteOffset, a.length),
    sumAbs: (a) => exports.sumAbs(a.byteOffset, a.length),
    dot: (a, b) => exports.dot(a.byteOffset, b.byteOffset, a.length),
    maxAbs: (a) => exports.maxAbs(a.byteOffset, a.length),
    firstNonFinite: (a) => exports.firstNonFinite(a.byteOffset, a.length),
    countNonZero: (a) => exports.countNonZero(a.byteOffset, a.length),
    findMagnitude: (a, magnitude, occurrence) =>
      exports.findMagnitude(a.byteOffset, a.length, magnitude, Math.min(occurrence, 2 ** 31 - 1)),
    countMagnitudes(counts, a, level, prefix) {
      exports.countMagnitudes(counts.byteOffset, a.byteOffset, a.length, level, prefix);
    },
    countWords: (counts, a, low) =>
      exports.countWords(counts.byteOffset, counts.length / 3, a.byteOffset, a.length, low),
    findWord: (places, a, word) => exports.findWord(places.byteOffset, a.byteOffset, a.length, word),
    gemm(out, a, b, m, n, k, alpha) {
      exports.gemm(out.byteOffset, a.byteOffset, b.byteOffset, m, n, k, alpha);
    },
    gemmStrided(out, outStride, a, [aRow, aColumn], b, [bRow, bColumn], m, n, k, alpha) {
      const [y, x, w] = [out.byteOffset, a.byteOffset, b.byteOffset];
      exports.gemmStrided(y, outStride, x, aRow, aColumn, w, bRow, bColumn, m, n, k, alpha);
    },
    gemv(y, a, stride, x, m, n, alpha) {
      exports.gemv(y.byteOffset, a.byteOffset, stride, x.byteOffset, m, n, alpha);
    },
    gemvTransposed(y, a, stride, x, m, n, alpha) {
      exports.gemvTransposed(y.byteOffset, a.byteOffset, stride, x.byteOffset, m, n, alpha);
    },
    symv(y, a, stride, x, n, alpha) {
      exports.symv(y.byteOffset, a.byteOffset, stride, x.byteOffset, n, alpha);
    },
    quantizeBlocks({ packed, scales, zeroPoints }, dtype, codes, [rows, length], coding, noise) {
      const { bits, blockSize, float16Scales } = coding;
      const [to, toScales, toZeros] = [packed.byteOffset, scales.byteOffset, zeroPoints?.byteOffset ?? 0];
      const run = exports[`quantizeBlocks${exportSuffix[dtype]}`];
      const sizes = [rows, length, blockSize, bits];
      return run(to, toScales, toZeros, codes.byteOffset, ...sizes, float16Scales ? 1 : 0, noise?.byteOffset ?? 0);
    },
    rangeRows: (ranges, dtype, codes, [rows, length]) =>
      exports.rangeRows(ranges.byteOffset, codedDTypes[dtype], codes.byteOffset, rows, length),
    quantizeInt8(out, dtype, codes, [rows, length], { signed, scales, zeroPoints }, noise) {
      const [to, from] = [out.byteOffset, codes.byteOffset];
      const numbers = [scales.byteOffset, zeroPoints.byteOffset, scales.length === 1 ? 0 : 4];
      const kind = codedDTypes[dtype];
      exports.quantizeInt8(to, kind, from, rows, length, signed ? 1 : 0, ...numbers, noise?.byteOffset ?? 0);
    },
    quantizeBlockBytes(out, dtype, codes, [rows, length], { blockSize, rounding, float16Scales }, noise) {
      const to = [out.codes.byteOffset, out.scales.byteOffset, out.zeroPoints?.byteOffset ?? 0];
      const flags = [rounding === "even" ? 1 : 0, float16Scales ? 1 : 0, noise?.byteOffset ?? 0];
      return exports.quantizeBlockBytes(...to, codedDTypes[dtype], codes.byteOffset, rows, length, blockSize, ...flags);
    },
    quantizeLevels({ packed, largest }, dtype, codes, count, { blockSize, bounds, order, levels }, noise) {
      const tables = [bounds.byteOffset, order.byteOffset, levels.byteOffset, noise?.byteOffset ?? 0];
      const to = [packed.byteOffset, largest.byteOffset];
      return exports.quantizeLevels(...to, codedDTypes[dtype], codes.byteOffset, count, blockSize, ...tables);
    },
    transposeBytes(out, a, [rows, columns]) {
      exports.transposeBytes(out.byteOffset, a.byteOffset, rows, columns);
    },
    bernoulliMask(out, key, start, probability) {
      const threshold = Math.round(probability * 2 ** 32);
      exports.bernoulliMask(out.byteOffset, out.length, key[0], key[1], start, threshold);
    },
    bernoulliBits(bits, count, key, start, probability) {
      const threshold = Math.round(probability * 2 ** 32);
      exports.bernoulliBits(bits.byteOffset, count, key[0], key[1], start, threshold);
    },
    randomWords(out, key, start) {
      exports.randomWords(out.byteOffset, out.length, key[0], key[1], start);
    },
    keepByRank(bits, first, magnitudes, words, inner, { low, step }, scratch) {
      const rowLength = inner === 0 ? 0 : magnitudes.length / inner;
      const [from, draws, work] = [magnitudes.byteOffset, words.byteOffset, scratch.byteOffset];
      exports.keepByRank(bits.byteOffset, first, from, draws, rowLength, inner, low, step, work);
    },
  };
}

import { codeBytes } from "./dtypes.ts";
import { LoomweightError } from "./errors.ts";
import { type CodedDType, type KernelDType, type KernelFunctions, rankScratchBytes } from "./kernels.ts";
import { listLimit } from "./layout.ts";

type Values = Float64Array;

function refuse(kernel: string, problem: string, expected: string, found: string): never {
  throw new LoomweightError({ code: "KERNEL_ARGUMENT", problem: `${kernel}: ${problem}`, expected, found });
}

/** Puts the checks that every kernel set makes in front of `raw`, whose arrays all lie in `buffer`. */
export function checked(raw: KernelFunctions, buffer: ArrayBuffer): KernelFunctions {
  const inside = (kernel: string, name: string, view: ArrayBufferView): void => {
    if (view?.buffer !== buffer) {
      refuse(kernel, `\`${name}\` is not in kernel memory`, "a view of an allocated block", "another buffer");
    }
  };
  const values = (kernel: string, name: string, view: Values, length: number): void => {
    inside(kernel, name, view);
    if (!(view instanceof Float64Array)) refuse(kernel, `\`${name}\` has a wrong type`, "Float64Array", "another view");
    if (view.length !== length) refuse(kernel, `\`${name}\` has a wrong length`, `${length}`, `${view.length}`);
  };
  const codes = (kernel: string, dtype: KernelDType, view: Uint8Array, count: number): void => {
    inside(kernel, "codes", view);
    if (!Object.hasOwn(codeBytes, dtype)) {
      refuse(kernel, "unknown dtype", Object.keys(codeBytes).join(", "), String(dtype));
    }
    const bytes = count * codeBytes[dtype];
    if (view.byteLength !== bytes) {
      refuse(kernel, "`codes` has a wrong length", `${bytes} bytes (${count} ${dtype})`, `${view.byteLength} bytes`);
    }
  };
  const unary = (kernel: string, out: Values, a: Values): void => {
    values(kernel, "out", out, out.length);
    values(kernel, "a", a, out.length);
  };
  const binary = (kernel: string, out: Values, a: Values, b: Values): void => {
    unary(kernel, out, a);
    values(kernel, "b", b, out.length);
  };
  const list = (
    kernel: string,
    inputs: readonly Values[],
    weights: readonly unknown[],
    length: number,
    out?: Values,
  ): void => {
    for (const input of inputs) values(kernel, "inputs", input, length);
    if (weights.length !== inputs.length) {
      refuse(kernel, "`weights` has a wrong length", `${inputs.length}`, `${weights.length}`);
    }
    if (inputs.length > listLimit) refuse(kernel, "too many inputs", `at most ${listLimit}`, `${inputs.length}`);
    // What is written would be read again.
    if (length > 0 && inputs.some((input) => input.byteOffset === out?.byteOffset)) {
      refuse(kernel, "`out` is one of the inputs", "an array of its own", "the same array");
    }
  };
  const wholeNumber = (kernel: string, name: string, value: number, most = Number.MAX_SAFE_INTEGER): void => {
    if (Number.isSafeInteger(value) && value >= 0 && value <= most) return;
    refuse(kernel, `wrong \`${name}\``, `a whole number from 0 to ${most}`, String(value));
  };
  const bitField = (kernel: string, bits: Uint8Array, first: number, count: number): void => {
    inside(kernel, "bits", bits);
    wholeNumber(kernel, "first", first, 2 ** 31 - 1 - count);
    const bytes = Math.ceil((first + count) / 8);
    if (bits.byteLength < bytes) {
      refuse(kernel, "`bits` is too short", `${bytes} bytes`, `${bits.byteLength} bytes`);
    }
  };
  const draws = (kernel: string, start: number, probability: number): void => {
    if (!Number.isSafeInteger(start) || start < 0) {
      refuse(kernel, "wrong `start`", "a whole number from 0 to 2^53 - 1", String(start));
    }
    if (!(probability >= 0 && probability <= 1)) {
      refuse(kernel, "wrong `probability`", "a number from 0 to 1", String(probability));
    }
  };
  const words = (kernel: string, name: string, view: Uint32Array, length: number): void => {
    inside(kernel, name, view);
    if (!(view instanceof Uint32Array) || view.length !== length) {
      refuse(kernel, `\`${name}\` has a wrong length or type`, `${length} Uint32 entries`, `${view.length}`);
    }
  };

  const bytesOf = (kernel: string, name: string, view: ArrayBufferView, bytes: number): void => {
    inside(kernel, name, view);
    if (view.byteLength !== bytes) {
      refuse(kernel, `\`${name}\` has a wrong length`, `${bytes} bytes`, `${view.byteLength} bytes`);
    }
  };
  const sizes = (kernel: string, ...all: number[]): void => {
    if (!all.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      refuse(kernel, "wrong size or stride", "whole numbers", `${all}`);
    }
  };
  /** Codes [rows, length] of a dtype that the quantizing kernels take. */
  const weights = (kernel: string, dtype: CodedDType, view: Uint8Array, rows: number, length: number): void => {
    if (dtype !== "float32" && dtype !== "float16" && dtype !== "bfloat16") {
      refuse(kernel, "wrong dtype", "float32, float16 or bfloat16", String(dtype));
    }
    sizes(kernel, rows, length);
    codes(kernel, dtype, view, rows * length);
  };
  const blockLength = (kernel: string, blockSize: number): void => {
    if (blockSize >= 16 && blockSize <= 256 && blockSize % 16 === 0) return;
    refuse(kernel, "wrong `blockSize`", "a multiple of 16, at most 256", String(blockSize));
  };
  /** At least as long as the last element of a [rows, columns] part needs. */
  const part = (kernel: string, name: string, view: Values, [rows, columns]: number[], [row, column]: number[]) => {
    inside(kernel, name, view);
    if (!(view instanceof Float64Array)) refuse(kernel, `\`${name}\` has a wrong type`, "Float64Array", "another view");
    const needed = rows === 0 || columns === 0 ? 0 : (rows - 1) * row + (columns - 1) * column + 1;
    if (view.length < needed) refuse(kernel, `\`${name}\` is too short`, `at least ${needed}`, `${view.length}`);
  };

  return {
    load(out, dtype, source) {
      values("load", "values", out, out.length);
      codes("load", dtype, source, out.length);
      raw.load(out, dtype, source);
    },
    store(dtype, target, source) {
      values("store", "values", source, source.length);
      codes("store", dtype, target, source.length);
      raw.store(dtype, target, source);
    },
    fill(out, value) {
      values("fill", "out", out, out.length);
      raw.fill(out, value);
    },
    addScaledCodes(out, dtype, source, weight) {
      values("addScaledCodes", "out", out, out.length);
      codes("addScaledCodes", dtype, source, out.length);
      raw.addScaledCodes(out, dtype, source, weight);
    },
    subtractFromCodes(out, dtype, source, b) {
      unary("subtractFromCodes", out, b);
      codes("subtractFromCodes", dtype, source, out.length);
      raw.subtractFromCodes(out, dtype, source, b);
    },
    addScaled(out, x, weight) {
      unary("addScaled", out, x);
      raw.addScaled(out, x, weight);
    },
    add(out, a, b) {
      binary("add", out, a, b);
      raw.add(out, a, b);
    },
    subtract(out, a, b) {
      binary("subtract", out, a, b);
      raw.subtract(out, a, b);
    },
    multiply(out, a, b) {
      binary("multiply", out, a, b);
      raw.multiply(out, a, b);
    },
    divide(out, a, b) {
      binary("divide", out, a, b);
      raw.divide(out, a, b);
    },
    affine(out, a, scale, shift) {
      unary("affine", out, a);
      raw.affine(out, a, scale, shift);
    },
    abs(out, a) {
      unary("abs", out, a);
      raw.abs(out, a);
    },
    sqrt(out, a) {
      unary("sqrt", out, a);
      raw.sqrt(out, a);
    },
    clamp(out, a, low, high) {
      unary("clamp", out, a);
      raw.clamp(out, a, low, high);
    },
    keepAbove(out, a, threshold) {
      unary("keepAbove", out, a);
      raw.keepAbove(out, a, threshold);
    },
    keepWhere(out, a, where) {
      binary("keepWhere", out, a, where);
      raw.keepWhere(out, a, where);
    },
    keepBits(out, a, bits, first) {
      unary("keepBits", out, a);
      bitField("keepBits", bits, first, out.length);
      raw.keepBits(out, a, bits, first);
    },
    nonZeroBits(bits, a) {
      values("nonZeroBits", "a", a, a.length);
      bitField("nonZeroBits", bits, 0, a.length);
      raw.nonZeroBits(bits, a);
    },
    divideUnlessSmall(out, a, b, limit) {
      binary("divideUnlessSmall", out, a, b);
      raw.divideUnlessSmall(out, a, b, limit);
    },
    signConsensus(sum, weightSum, inputs, weights) {
      values("signConsensus", "sum", sum, sum.length);
      values("signConsensus", "weightSum", weightSum, sum.length);
      list("signConsensus", inputs, weights, sum.length);
      raw.signConsensus(sum, weightSum, inputs, weights);
    },
    weightedConsensus(out, inputs, weights, normalize, limit) {
      values("weightedConsensus", "out", out, out.length);
      list("weightedConsensus", inputs, weights, out.length, out);
      return raw.weightedConsensus(out, inputs, weights, normalize, limit);
    },
    electedMean(out, base, inputs, weights, floor) {
      values("electedMean", "out", out, out.length);
      values("electedMean", "base", base, out.length);
      list("electedMean", inputs, weights, out.length, out);
      raw.electedMean(out, base, inputs, weights, floor);
    },
    variance(out, inputs) {
      values("variance", "out", out, out.length);
      list("variance", inputs, inputs, out.length, out);
      raw.variance(out, inputs);
    },
    sum(a) {
      values("sum", "a", a, a.length);
      return raw.sum(a);
    },
    sumAbs(a) {
      values("sumAbs", "a", a, a.length);
      return raw.sumAbs(a);
    },
    dot(a, b) {
      values("dot", "a", a, a.length);
      values("dot", "b", b, a.length);
      return raw.dot(a, b);
    },
    maxAbs(a) {
      values("maxAbs", "a", a, a.length);
      return raw.maxAbs(a);
    },
    firstNonFinite(a) {
      values("firstNonFinite", "a", a, a.length);
      return raw.firstNonFinite(a);
    },
    countNonZero(a) {
      values("countNonZero", "a", a, a.length);
      return raw.countNonZero(a);
    },
    findMagnitude(a, magnitude, occurrence) {
      values("findMagnitude", "a", a, a.length);
      if (!Number.isSafeInteger(occurrence) || occurrence < 1) {
        refuse("findMagnitude", "wrong `occurrence`", "a whole number from 1", String(occurrence));
      }
      return raw.findMagnitude(a, magnitude, occurrence);
    },
    countMagnitudes(counts, a, level, prefix) {
      values("countMagnitudes", "a", a, a.length);
      inside("countMagnitudes", "counts", counts);
      if (!(counts instanceof Uint32Array) || counts.length !== 65536) {
        refuse("countMagnitudes", "`counts` has a wrong length or type", "65536 Uint32 entries", `${counts.length}`);
      }
      if (![0, 1, 2, 3].includes(level)) refuse("countMagnitudes", "wrong `level`", "0, 1, 2 or 3", String(level));
      raw.countMagnitudes(counts, a, level, prefix);
    },
    countWords(counts, a, low) {
      values("countWords", "a", a, a.length);
      inside("countWords", "counts", counts);
      if (!(counts instanceof Uint32Array) || counts.length < 3 || counts.length % 3 !== 0) {
        refuse("countWords", "`counts` has a wrong length or type", "three Uint32 entries a word", `${counts.length}`);
      }
      if (!Number.isSafeInteger(low) || low < 0 || low + counts.length / 3 > 2 ** 31) {
        refuse("countWords", "wrong `low`", "a bracket within 0 to 2^31", String(low));
      }
      return raw.countWords(counts, a, low);
    },
    findWord(places, a, word) {
      values("findWord", "a", a, a.length);
      words("findWord", "places", places, a.length);
      wholeNumber("findWord", "word", word, 2 ** 31 - 1);
      return raw.findWord(places, a, word);
    },
    gemm(out, a, b, m, n, k, alpha) {
      for (const size of [m, n, k]) {
        if (!Number.isSafeInteger(size) || size < 0) refuse("gemm", "wrong size", "whole numbers", `${[m, n, k]}`);
      }
      values("gemm", "out", out, m * n);
      values("gemm", "a", a, m * k);
      values("gemm", "b", b, k * n);
      raw.gemm(out, a, b, m, n, k, alpha);
    },
    gemmStrided(out, outStride, a, aStrides, b, bStrides, m, n, k, alpha) {
      sizes("gemmStrided", m, n, k, outStride, ...aStrides, ...bStrides);
      part("gemmStrided", "out", out, [m, n], [outStride, 1]);
      part("gemmStrided", "a", a, [m, k], [...aStrides]);
      part("gemmStrided", "b", b, [k, n], [...bStrides]);
      if (m > 1 && outStride < n) refuse("gemmStrided", "rows of `out` overlap", `at least ${n}`, `${outStride}`);
      raw.gemmStrided(out, outStride, a, aStrides, b, bStrides, m, n, k, alpha);
    },
    gemv(y, a, stride, x, m, n, alpha) {
      sizes("gemv", m, n, stride);
      values("gemv", "y", y, m);
      part("gemv", "a", a, [m, n], [stride, 1]);
      values("gemv", "x", x, n);
      raw.gemv(y, a, stride, x, m, n, alpha);
    },
    gemvTransposed(y, a, stride, x, m, n, alpha) {
      sizes("gemvTransposed", m, n, stride);
      values("gemvTransposed", "y", y, n);
      part("gemvTransposed", "a", a, [m, n], [stride, 1]);
      values("gemvTransposed", "x", x, m);
      raw.gemvTransposed(y, a, stride, x, m, n, alpha);
    },
    symv(y, a, stride, x, n, alpha) {
      sizes("symv", n, stride);
      values("symv", "y", y, n);
      part("symv", "a", a, [n, n], [stride, 1]);
      values("symv", "x", x, n);
      raw.symv(y, a, stride, x, n, alpha);
    },
    quantizeBlocks(out, dtype, source, [rows, length], coding, noise) {
      const kernel = "quantizeBlocks";
      const { packed, scales, zeroPoints } = out;
      const { bits, blockSize } = coding;
      if (bits !== 2 && bits !== 4 && bits !== 8) refuse(kernel, "wrong `bits`", "2, 4 or 8", String(bits));
      blockLength(kernel, blockSize);
      weights(kernel, dtype, source, rows, length);
      const blocks = rows * Math.ceil(length / blockSize);
      bytesOf(kernel, "packed", packed, (blocks * blockSize * bits) / 8);
      bytesOf(kernel, "scales", scales, 4 * blocks);
      if (zeroPoints) bytesOf(kernel, "zeroPoints", zeroPoints, blocks);
      if (noise) values(kernel, "noise", noise, 3);
      return raw.quantizeBlocks(out, dtype, source, [rows, length], coding, noise);
    },
    rangeRows(ranges, dtype, source, [rows, length]) {
      const kernel = "rangeRows";
      weights(kernel, dtype, source, rows, length);
      bytesOf(kernel, "ranges", ranges, 8 * rows);
      return raw.rangeRows(ranges, dtype, source, [rows, length]);
    },
    quantizeInt8(out, dtype, source, [rows, length], coding, noise) {
      const kernel = "quantizeInt8";
      weights(kernel, dtype, source, rows, length);
      bytesOf(kernel, "out", out, rows * length);
      const entries = coding.scales.length === 1 ? 1 : rows;
      bytesOf(kernel, "scales", coding.scales, 4 * entries);
      bytesOf(kernel, "zeroPoints", coding.zeroPoints, 4 * entries);
      if (noise) values(kernel, "noise", noise, 3);
      raw.quantizeInt8(out, dtype, source, [rows, length], coding, noise);
    },
    quantizeBlockBytes(out, dtype, source, [rows, length], options, noise) {
      const kernel = "quantizeBlockBytes";
      const { blockSize, rounding } = options;
      blockLength(kernel, blockSize);
      if (rounding !== "away" && rounding !== "even") {
        refuse(kernel, "wrong `rounding`", "away or even", String(rounding));
      }
      weights(kernel, dtype, source, rows, length);
      const blocks = rows * Math.ceil(length / blockSize);
      bytesOf(kernel, "codes", out.codes, rows * length);
      bytesOf(kernel, "scales", out.scales, 4 * blocks);
      if (out.zeroPoints) bytesOf(kernel, "zeroPoints", out.zeroPoints, blocks);
      if (noise) values(kernel, "noise", noise, 3);
      return raw.quantizeBlockBytes(out, dtype, source, [rows, length], options, noise);
    },
    quantizeLevels(out, dtype, source, count, table, noise) {
      const kernel = "quantizeLevels";
      blockLength(kernel, table.blockSize);
      weights(kernel, dtype, source, 1, count);
      bytesOf(kernel, "packed", out.packed, Math.ceil(count / 2));
      bytesOf(kernel, "largest", out.largest, 4 * Math.ceil(count / table.blockSize));
      bytesOf(kernel, "bounds", table.bounds, 60);
      bytesOf(kernel, "order", table.order, 16);
      bytesOf(kernel, "levels", table.levels, 64);
      if (noise) values(kernel, "noise", noise, 3);
      return raw.quantizeLevels(out, dtype, source, count, table, noise);
    },
    transposeBytes(out, a, [rows, columns]) {
      const kernel = "transposeBytes";
      sizes(kernel, rows, columns);
      bytesOf(kernel, "out", out, rows * columns);
      bytesOf(kernel, "a", a, rows * columns);
      raw.transposeBytes(out, a, [rows, columns]);
    },
    bernoulliMask(out, key, start, probability) {
      values("bernoulliMask", "out", out, out.length);
      draws("bernoulliMask", start, probability);
      raw.bernoulliMask(out, key, start, probability);
    },
    bernoulliBits(bits, count, key, start, probability) {
      wholeNumber("bernoulliBits", "count", count, 2 ** 31 - 1);
      bitField("bernoulliBits", bits, 0, count);
      draws("bernoulliBits", start, probability);
      raw.bernoulliBits(bits, count, key, start, probability);
    },
    randomWords(out, key, start) {
      words("randomWords", "out", out, out.length);
      draws("randomWords", start, 0);
      raw.randomWords(out, key, start);
    },
    keepByRank(bits, first, magnitudes, drawn, inner, probability, scratch) {
      const kernel = "keepByRank";
      inside(kernel, "magnitudes", magnitudes);
      inside(kernel, "scratch", scratch);
      words(kernel, "words", drawn, magnitudes.length);
      bitField(kernel, bits, first, magnitudes.length);
      wholeNumber(kernel, "inner", inner);
      const rowLength = inner === 0 ? 0 : magnitudes.length / inner;
      if (!Number.isInteger(rowLength) || (inner === 0 && magnitudes.length > 0)) {
        refuse(kernel, "wrong `inner`", `a divisor of ${magnitudes.length}`, String(inner));
      }
      const bytes = rankScratchBytes(rowLength);
      if (scratch.byteLength < bytes || scratch.byteOffset % 16 !== 0) {
        refuse(kernel, "`scratch` does not fit", `${bytes} bytes, 16-byte aligned`, `${scratch.byteLength} bytes`);
      }
      raw.keepByRank(bits, first, magnitudes, drawn, inner, probability, scratch);
    },
  };
}

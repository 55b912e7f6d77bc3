import { codeBytes } from "./dtypes.ts";
import { LoomweightError } from "./errors.ts";
import type { KernelDType, KernelFunctions } from "./kernels.ts";
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

  const sizes = (kernel: string, ...all: number[]): void => {
    if (!all.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      refuse(kernel, "wrong size or stride", "whole numbers", `${all}`);
    }
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
    divideUnlessSmall(out, a, b, limit) {
      binary("divideUnlessSmall", out, a, b);
      raw.divideUnlessSmall(out, a, b, limit);
    },
    signConsensus(sum, weightSum, inputs, weights) {
      values("signConsensus", "sum", sum, sum.length);
      values("signConsensus", "weightSum", weightSum, sum.length);
      for (const input of inputs) values("signConsensus", "inputs", input, sum.length);
      if (weights.length !== inputs.length) {
        refuse("signConsensus", "`weights` has a wrong length", `${inputs.length}`, `${weights.length}`);
      }
      if (inputs.length > listLimit) {
        refuse("signConsensus", "too many inputs", `at most ${listLimit}`, `${inputs.length}`);
      }
      raw.signConsensus(sum, weightSum, inputs, weights);
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
      if (!(counts instanceof Uint32Array) || counts.length < 2) {
        refuse("countWords", "`counts` has a wrong length or type", "at least 2 Uint32 entries", `${counts.length}`);
      }
      if (!Number.isSafeInteger(low) || low < 0 || low + counts.length - 1 > 2 ** 31) {
        refuse("countWords", "wrong `low`", "a bracket within 0 to 2^31", String(low));
      }
      return raw.countWords(counts, a, low);
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
    bernoulliMask(out, key, start, probability) {
      values("bernoulliMask", "out", out, out.length);
      if (!Number.isSafeInteger(start) || start < 0) {
        refuse("bernoulliMask", "wrong `start`", "a whole number from 0 to 2^53 - 1", String(start));
      }
      if (!(probability >= 0 && probability <= 1)) {
        refuse("bernoulliMask", "wrong `probability`", "a number from 0 to 1", String(probability));
      }
      raw.bernoulliMask(out, key, start, probability);
    },
  };
}

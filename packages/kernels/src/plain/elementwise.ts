import type { KernelFunctions } from "../kernels.ts";
import { load } from "./casts.ts";

type Elementwise = Pick<
  KernelFunctions,
  | "fill"
  | "addScaledCodes"
  | "subtractFromCodes"
  | "addScaled"
  | "add"
  | "subtract"
  | "multiply"
  | "divide"
  | "affine"
  | "abs"
  | "sqrt"
  | "clamp"
  | "keepAbove"
  | "keepWhere"
  | "keepBits"
  | "nonZeroBits"
  | "divideUnlessSmall"
  | "signConsensus"
>;

/** The plain twins of assembly/elementwise.ts and assembly/select.ts. */
export const elementwise: Elementwise = {
  fill(out, value) {
    out.fill(value);
  },
  addScaledCodes(out, dtype, codes, weight) {
    const values = new Float64Array(out.length);
    load(values, dtype, codes);
    elementwise.addScaled(out, values, weight);
  },
  subtractFromCodes(out, dtype, codes, b) {
    const values = new Float64Array(out.length);
    load(values, dtype, codes);
    elementwise.subtract(out, values, b);
  },
  addScaled(out, x, weight) {
    for (let i = 0; i < out.length; i++) out[i] += weight * x[i];
  },
  add(out, a, b) {
    for (let i = 0; i < out.length; i++) out[i] = a[i] + b[i];
  },
  subtract(out, a, b) {
    for (let i = 0; i < out.length; i++) out[i] = a[i] - b[i];
  },
  multiply(out, a, b) {
    for (let i = 0; i < out.length; i++) out[i] = a[i] * b[i];
  },
  divide(out, a, b) {
    for (let i = 0; i < out.length; i++) out[i] = a[i] / b[i];
  },
  affine(out, a, scale, shift) {
    for (let i = 0; i < out.length; i++) out[i] = a[i] * scale + shift;
  },
  abs(out, a) {
    for (let i = 0; i < out.length; i++) out[i] = Math.abs(a[i]);
  },
  sqrt(out, a) {
    for (let i = 0; i < out.length; i++) out[i] = Math.sqrt(a[i]); // IEEE: correctly rounded everywhere
  },
  clamp(out, a, low, high) {
    for (let i = 0; i < out.length; i++) {
      // biome-ignore lint/complexity/useMathMinMax: Math.max orders -0 and gives NaN for a NaN bound, the SIMD form does not
      const x = a[i] < low ? low : a[i];
      // biome-ignore lint/complexity/useMathMinMax: as above
      out[i] = high < x ? high : x;
    }
  },
  keepAbove(out, a, threshold) {
    for (let i = 0; i < out.length; i++) out[i] = Math.abs(a[i]) >= threshold ? a[i] : 0;
  },
  keepWhere(out, a, where) {
    for (let i = 0; i < out.length; i++) out[i] = a[i] * (where[i] !== 0 ? 1 : 0);
  },
  keepBits(out, a, bits, first) {
    for (let i = 0; i < out.length; i++) out[i] = a[i] * ((bits[(first + i) >>> 3] >>> ((first + i) & 7)) & 1);
  },
  nonZeroBits(bits, a) {
    bits.fill(0, 0, Math.ceil(a.length / 8));
    for (let i = 0; i < a.length; i++) if (a[i] !== 0) bits[i >>> 3] |= 1 << (i & 7);
  },
  divideUnlessSmall(out, a, b, limit) {
    for (let i = 0; i < out.length; i++) out[i] = Math.abs(b[i]) < limit ? a[i] : a[i] / b[i];
  },
  signConsensus(sum, weightSum, inputs, weights) {
    for (let i = 0; i < sum.length; i++) {
      let total = 0;
      for (const input of inputs) total += input[i];
      const positive = total >= 0;
      let agreed = 0;
      let weight = 0;
      for (let j = 0; j < inputs.length; j++) {
        const x = inputs[j][i];
        if (positive ? x > 0 : x < 0) {
          agreed += x;
          weight += weights[j];
        }
      }
      sum[i] = agreed;
      weightSum[i] = weight;
    }
  },
};

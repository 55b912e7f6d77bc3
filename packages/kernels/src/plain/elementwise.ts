import type { KernelFunctions } from "../kernels.ts";
import { load } from "./casts.ts";

type Elementwise = Pick<
  KernelFunctions,
  | "fill"
  | "addScaledCodes"
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
  | "divideUnlessSmall"
  | "signConsensus"
>;

/** The plain twins of assembly/elementwise.ts. */
export const elementwise: Elementwise = {
  fill(out, value) {
    out.fill(value);
  },
  addScaledCodes(out, dtype, codes, weight) {
    const values = new Float64Array(out.length);
    load(values, dtype, codes);
    elementwise.addScaled(out, values, weight);
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

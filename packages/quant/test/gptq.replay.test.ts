import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect } from "vitest";
import { gptqCodes } from "../src/algorithms/gptq.ts";
import { createHessianSum } from "../src/index.ts";
import { recordedSet, testCases } from "./recorded.ts";

interface GptqCase {
  readonly name: string;
  readonly weight: string;
  readonly inputs: string;
  readonly bits: number;
  readonly groupSize: number;
  readonly symmetric: boolean;
  readonly percdamp: number;
  readonly actOrder: boolean;
  readonly loss: number;
  readonly outputError: number;
  readonly codes: string;
  readonly scales: string;
  readonly zeroPoints: string;
  readonly permutation?: string;
}

/** ‖X Ŵ − X W‖ / ‖X W‖. */
function outputError(inputs: Tensor, weight: Tensor, decoded: Float64Array): number {
  const [rows, K] = inputs.shape;
  const N = weight.shape[1];
  const [x, w] = [toFloat64(inputs), toFloat64(weight)];
  let [error, norm] = [0, 0];
  for (let i = 0; i < rows; i++) {
    for (let n = 0; n < N; n++) {
      let [a, b] = [0, 0];
      for (let k = 0; k < K; k++) {
        a += x[i * K + k] * decoded[k * N + n];
        b += x[i * K + k] * w[k * N + n];
      }
      error += (a - b) ** 2;
      norm += b ** 2;
    }
  }
  return Math.sqrt(error / norm);
}

describe("GPTQ, recorded", () => {
  const set = recordedSet<GptqCase>("gptq");
  testCases(set, (each) => {
    const [weight, inputs] = [set.tensor(each.weight), set.tensor(each.inputs)];
    const sum = createHessianSum(weight.shape[0]);
    sum.add(inputs);
    const found = gptqCodes(weight, sum.finish(), { ...each, blockSize: each.groupSize, dampening: each.percdamp });
    expect([...found.codes]).toEqual([...toFloat64(set.tensor(each.codes))]);
    const [scales, zeros] = [toFloat64(set.tensor(each.scales)), toFloat64(set.tensor(each.zeroPoints))];
    for (const [i, scale] of scales.entries()) {
      expect(Math.abs(found.scales[i] / scale - 1)).toBeLessThan(1e-9);
      expect(found.zeroPoints[i]).toBe(zeros[i]);
    }
    if (each.permutation !== undefined) expect(found.order).toEqual([...toFloat64(set.tensor(each.permutation))]);
    expect(Math.abs(found.loss / each.loss - 1)).toBeLessThan(1e-6);
    const N = weight.shape[1];
    const decoded = Float64Array.from(found.codes, (code, i) => {
      const at = Math.floor(Math.floor(i / N) / each.groupSize) * N + (i % N);
      return found.scales[at] * (code - found.zeroPoints[at]);
    });
    expect(Math.abs(outputError(inputs, weight, decoded) - each.outputError)).toBeLessThan(1e-6);
  });
});

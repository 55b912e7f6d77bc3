import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect } from "vitest";
import { type BlockQuantized, quantizeHqq, quantizeKQuant, quantizeRtn } from "../src/index.ts";
import { codeAt } from "../src/packing.ts";
import { type RecordedCase, recordedSet, testCases } from "./recorded.ts";

interface AlgorithmCase extends RecordedCase {
  readonly algorithm: "HQQ" | "RTN" | "k_quant" | "GPTQ";
  readonly blockSize: 16 | 32;
  readonly options: { readonly bits?: 2 | 4 | 8; readonly sym?: 0 | 1 };
}

describe("weight-only algorithms, recorded", () => {
  const set = recordedSet<AlgorithmCase>("matmul_algorithms");
  testCases(set, (each, context) => {
    const { algorithm, blockSize, options } = each;
    if (algorithm === "GPTQ")
      return context.skip("the tool's GPTQ gives round-to-nearest codes; the set gptq is compared");
    const weight = set.tensor(each.weight);
    const found =
      algorithm === "HQQ"
        ? quantizeHqq(weight, { bits: options.bits, blockSize })
        : algorithm === "RTN"
          ? quantizeRtn(weight, { blockSize, symmetric: options.sym === 1 })
          : quantizeKQuant(weight, { blockSize });
    if (each.failed !== undefined) {
      // An odd number of blocks: the tool cannot lay out its zero points.
      expect(found.zeroPoints?.shape).toEqual([found.N, Math.ceil(found.scales.shape[1] / 2)]);
      return;
    }
    const [, codes, scales, zeros] = Object.values(each.nodes[0].inputs);
    const tensorOf = (name: string): Tensor => set.tensor(each.initializers[name].tensor);
    expectCodes(found, tensorOf(codes));
    const wanted = toFloat64(tensorOf(scales));
    expect(toFloat64(found.scales)).toEqual(wanted);
    if (zeros === undefined) expect(found.zeroPoints).toBeUndefined();
    else if (algorithm === "HQQ") {
      // Means of a block are summed in another order: the last bits of a float32.
      const [a, b] = [toFloat64(found.zeroPoints as Tensor), toFloat64(tensorOf(zeros))];
      for (let i = 0; i < b.length; i++)
        expect(Math.abs(a[i] - b[i])).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(b[i])));
    } else expect(toFloat64(found.zeroPoints as Tensor)).toEqual(toFloat64(tensorOf(zeros)));
  });
});

/** Codes of real rows are equal; those beyond K are not read by anyone. */
function expectCodes({ packed, bits, blockSize, K, N }: BlockQuantized, wanted: Tensor): void {
  const blocks = Math.ceil(K / blockSize);
  const blob = (blockSize * bits) / 8;
  const unpack = (bytes: Uint8Array) =>
    Array.from({ length: N * K }, (_, i) => {
      const [n, k] = [Math.floor(i / K), i % K];
      const block = n * blocks + Math.floor(k / blockSize);
      return codeAt(bytes, block * blob, k % blockSize, bits);
    });
  expect(unpack(packed.data as Uint8Array)).toEqual(unpack(wanted.data as Uint8Array));
}

describe("static, recorded", () => {
  testCases(recordedSet("static"), (_, context) =>
    context.skip("static quantization with calibration is not part of this package"),
  );
});

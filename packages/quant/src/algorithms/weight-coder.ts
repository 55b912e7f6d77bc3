import { cast, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import type { BlockQuantized } from "../blocks.ts";
import type { CheckedBlockOptions } from "../options.ts";
import { quantizeAwq } from "./awq.ts";
import { quantizeGptq } from "./gptq.ts";
import { quantizeHqq } from "./hqq.ts";
import { quantizeKQuant } from "./k-quant.ts";
import { quantizeRtn } from "./rtn.ts";
import { statsqBlocks } from "./statsq-blocks.ts";

/** How weights are coded; "default" is onnxruntime's own rule. */
export type WeightAlgorithm = (typeof weightAlgorithms)[number];
export const weightAlgorithms = ["default", "rtn", "k-quant", "hqq", "awq", "gptq", "statsq"] as const;

/** A coder of one weight [K, N], and what kind of zero points it gives. */
export interface WeightCoder {
  readonly algorithm: WeightAlgorithm;
  /** Zero points of codes that are symmetric are left out; hqq's are floats. */
  readonly zeroPoints: "none" | "packed" | "float";
  /** Whether the product's inputs are to be multiplied with `inputScales`. */
  readonly scalesInputs?: boolean;
  code(weight: Tensor, name: string): { readonly quantized: BlockQuantized; readonly inputScales?: Tensor };
}

export interface WeightCoderOptions extends CheckedBlockOptions {
  readonly algorithm: WeightAlgorithm;
  /** For "gptq" and "awq": 2 / n Σ x xᵀ of each product's inputs, by the name of its weight. */
  readonly hessians?: ReadonlyMap<string, Tensor>;
}

/** undefined for "default", whose kernels stream. Throws `INVALID_OPTION`. */
export function weightCoder(options: WeightCoderOptions, where: string): WeightCoder | undefined {
  const { algorithm, hessians, ...settings } = options;
  const packed = settings.symmetric ? "none" : "packed";
  switch (algorithm) {
    case "default":
      return undefined;
    case "rtn":
      return {
        algorithm,
        zeroPoints: packed,
        code: (weight, name) => ({ quantized: quantizeRtn(weight, settings, name) }),
      };
    case "k-quant":
      return {
        algorithm,
        zeroPoints: "packed",
        code: (weight, name) => ({ quantized: quantizeKQuant(weight, settings, name) }),
      };
    case "hqq":
      if (settings.bits === 8) {
        throw new LoomweightError({
          code: "INVALID_OPTION",
          option: `${where}.algorithm`,
          problem: "onnxruntime runs fractional zero points with 2 and 4 bits only",
          found: "hqq with 8 bits",
          fix: "Take another algorithm for 8 bits; there is little to gain.",
        });
      }
      return {
        algorithm,
        zeroPoints: "float",
        code(weight, name) {
          const quantized = quantizeHqq(weight, settings, name);
          if (weight.dtype !== "float16") return { quantized };
          return { quantized: { ...quantized, zeroPoints: cast(quantized.zeroPoints as Tensor, "float16") } };
        },
      };
    case "awq":
      return {
        algorithm,
        zeroPoints: packed,
        scalesInputs: true,
        code(weight, name) {
          const { quantized, inputScales } = quantizeAwq(weight, hessianOf(name), settings, name);
          if (weight.dtype !== "float16") return { quantized, inputScales };
          return {
            quantized: { ...quantized, scales: cast(quantized.scales, "float16") },
            inputScales: cast(inputScales, "float16"),
          };
        },
      };
    case "gptq":
      return {
        algorithm,
        zeroPoints: packed,
        code: (weight, name) => ({ quantized: quantizeGptq(weight, hessianOf(name), settings, name) }),
      };
    case "statsq": {
      const { bits } = settings;
      if (bits === 8) {
        throw new LoomweightError({
          code: "INVALID_OPTION",
          option: `${where}.algorithm`,
          problem: "statsq is a grid for training with 2 to 4 bits",
          found: "8 bits",
        });
      }
      return {
        algorithm,
        zeroPoints: "float",
        code(weight, name) {
          const quantized = statsqBlocks(weight, { ...settings, bits }, name);
          if (weight.dtype !== "float16") return { quantized };
          return { quantized: { ...quantized, zeroPoints: cast(quantized.zeroPoints as Tensor, "float16") } };
        },
      };
    }
    default:
      throw unknownName({
        kind: "algorithm",
        name: String(algorithm),
        known: weightAlgorithms,
        code: "INVALID_OPTION",
        option: `${where}.algorithm`,
      });
  }

  function hessianOf(name: string): Tensor {
    const hessian = hessians?.get(name);
    if (hessian !== undefined) return hessian;
    throw new LoomweightError({
      code: "NO_DATA",
      tensor: name,
      problem: `${algorithm} needs the second moments of this product's inputs`,
      expected: [...(hessians?.keys() ?? [])].slice(0, 3).join(", ") || "hessians",
      found: "none of this name",
      fix: "Collect them with collectHessians, or exclude the product.",
    });
  }
}

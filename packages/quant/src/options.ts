import { elementCount, isFloat, LoomweightError, type Tensor } from "@loomweight/tensor";

/** Bits of a MatMulNBits code. */
export type BlockBits = 2 | 4 | 8;

/** Block sizes that onnxruntime's CPU kernels accept. */
export const blockSizes = [16, 32, 64, 128, 256] as const;

/** How a weight [K, N] is cut into blocks along K and coded. */
export interface BlockOptions {
  /** Bits of a code: 2, 4 or 8; default 4. */
  readonly bits?: BlockBits;
  /** Weights that share a scale, along K: 16, 32, 64, 128 or 256; default 32. */
  readonly blockSize?: number;
  /** Without zero points, the signed peak represented exactly (default), or with a zero point per block. */
  readonly symmetric?: boolean;
}

/** `BlockOptions` with every default filled in and checked. */
export interface CheckedBlockOptions {
  readonly bits: BlockBits;
  readonly blockSize: number;
  readonly symmetric: boolean;
}

/** Fills in defaults; throws `INVALID_OPTION` for bits or block sizes that no onnxruntime kernel runs. */
export function checkBlockOptions(options: BlockOptions, where: string): CheckedBlockOptions {
  const { bits = 4, blockSize = 32, symmetric = true } = options;
  if (bits !== 2 && bits !== 4 && bits !== 8) throw invalid(`${where}.bits`, bits, "2, 4 or 8");
  checkBlockSize(blockSize, where);
  if (typeof symmetric !== "boolean") throw invalid(`${where}.symmetric`, symmetric, "true or false");
  return { bits, blockSize, symmetric };
}

/** Throws `INVALID_OPTION` unless onnxruntime's kernels run blocks of this size. */
export function checkBlockSize(blockSize: unknown, where: string): asserts blockSize is number {
  if (typeof blockSize !== "number" || !(blockSizes as readonly number[]).includes(blockSize)) {
    throw invalid(`${where}.blockSize`, blockSize, blockSizes.join(", "));
  }
}

/** An option outside its range. */
export function invalid(option: string, found: unknown, expected: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    option,
    expected,
    found: shown(found),
  });
}

function shown(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** Throws unless `weight` is a float tensor of `rank` (any rank when absent) that can be quantized. */
export function checkWeight(weight: Tensor, name: string, rank?: number): void {
  if (!isFloat(weight.dtype)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: "only float weights can be quantized",
      tensor: name,
      expected: "float32, float16, bfloat16 or float64",
      found: weight.dtype,
    });
  }
  if (rank !== undefined && weight.shape.length !== rank) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "the weight has the wrong rank",
      tensor: name,
      expected: rank === 2 ? "[K, N]" : `rank ${rank}`,
      found: `[${weight.shape}]`,
    });
  }
  if (elementCount(weight.shape) === 0) {
    throw new LoomweightError({
      code: "EMPTY_TENSOR",
      problem: "an empty weight cannot be quantized",
      tensor: name,
      found: `[${weight.shape}]`,
      fix: "Exclude it.",
    });
  }
}

/** A weight that holds NaN or infinity: no scale can represent it. */
export function nonFiniteWeight(name: string, position: string): LoomweightError {
  return new LoomweightError({
    code: "NON_FINITE_WEIGHT",
    problem: `the weight holds NaN or infinity (or a float64 beyond float32) ${position}`,
    tensor: name,
    fix: "Repair the checkpoint, or exclude this tensor.",
  });
}

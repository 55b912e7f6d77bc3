import { allocate, type Tensor } from "@loomweight/tensor";
import { type Bnb4Coder, type Bnb4CoderOptions, createBnb4Coder } from "./bnb4-coder.ts";
import { type Bnb4Quantized, type Bnb4Type, bnb4Levels } from "./bnb4-levels.ts";
import { checkBlockSize, checkWeight, invalid } from "./options.ts";
import { plainCodes } from "./panels.ts";
import { visitColumns } from "./weight-columns.ts";

export interface Bnb4Options {
  /** nf4 (default): quantiles of the normal distribution; fp4: sign, 2 exponent bits, 1 mantissa bit. */
  readonly quantType?: Bnb4Type;
  /** 16, 32, 64 (default), 128 or 256. */
  readonly blockSize?: number;
}

/**
 * Codes a weight [K, N] as MatMulBnb4 takes it: each block of the flattened transpose is divided by its largest
 * magnitude and every quotient takes the nearest level.
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 */
export function quantizeBnb4(weight: Tensor, options: Bnb4Options = {}, name = "weight"): Bnb4Quantized {
  const { quantType = "nf4", blockSize = 64 } = options;
  if (quantType !== "nf4" && quantType !== "fp4") throw invalid("quantizeBnb4.quantType", quantType, "nf4 or fp4");
  checkBlockSize(blockSize, "quantizeBnb4");
  return quantizeBnb4WithCoder(weight, { quantType, blockSize, name, measured: false }).quantized;
}

/** `quantizeBnb4` with checked options, measured on the way if asked for. */
export function quantizeBnb4WithCoder(
  weight: Tensor,
  settings: Omit<Bnb4CoderOptions, "K" | "N" | "dtype">,
): ReturnType<Bnb4Coder["finish"]> {
  checkWeight(weight, settings.name, 2);
  const [K, N] = weight.shape;
  const plain = plainCodes(weight);
  if (plain?.order === "columns") {
    const coder = createBnb4Coder({ ...settings, K, N, dtype: plain.dtype });
    coder.add(plain.bytes);
    return coder.finish();
  }
  const coder = createBnb4Coder({ ...settings, K, N, dtype: "float32" });
  visitColumns(weight, (_first, _count, values) =>
    coder.add(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  );
  return coder.finish();
}

/** The same for a weight [K, N] whose columns stream. */
export async function quantizeBnb4Stream(
  columns: AsyncIterable<Uint8Array>,
  options: Bnb4CoderOptions,
): Promise<ReturnType<Bnb4Coder["finish"]>> {
  const coder = createBnb4Coder(options);
  for await (const bytes of columns) coder.add(bytes);
  return coder.finish();
}

/** The weight that the codes stand for: float32 [K, N], a transposed view of rows [N, K]. */
export function dequantizeBnb4(quantized: Bnb4Quantized): Tensor<"float32"> {
  const { K, N, blockSize, packed, absmax } = quantized;
  const levels = Float32Array.from(bnb4Levels[quantized.quantType]);
  const data = allocate("float32", K * N);
  for (let i = 0; i < data.length; i++) {
    const byte = packed.data[i >> 1];
    data[i] = levels[(i & 1) === 0 ? byte >> 4 : byte & 15] * absmax.data[Math.floor(i / blockSize)];
  }
  return { dtype: "float32", data, shape: [K, N], stride: [1, K], offset: 0 };
}

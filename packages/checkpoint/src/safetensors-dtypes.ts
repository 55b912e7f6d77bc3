import type { DType } from "@loomweight/tensor";

/**
 * safetensors' own dtype names, in the order its reference serializer sorts by: it writes the last of them first, so
 * that wide elements come before narrow ones and stay aligned.
 */
export const safetensorsDTypes: readonly (readonly [name: string, dtype: DType])[] = [
  ["BOOL", "bool"],
  ["F4", "float4_e2m1fn"],
  ["F6_E2M3", "float6_e2m3fn"],
  ["F6_E3M2", "float6_e3m2fn"],
  ["U8", "uint8"],
  ["I8", "int8"],
  ["F8_E5M2", "float8_e5m2"],
  ["F8_E4M3", "float8_e4m3fn"],
  ["F8_E8M0", "float8_e8m0fnu"],
  ["I16", "int16"],
  ["U16", "uint16"],
  ["F16", "float16"],
  ["BF16", "bfloat16"],
  ["I32", "int32"],
  ["U32", "uint32"],
  ["F32", "float32"],
  ["C64", "complex64"],
  ["F64", "float64"],
  ["I64", "int64"],
  ["U64", "uint64"],
];

/** The dtype that a safetensors file calls `name`. */
export function dtypeOfSafetensorsName(name: string): DType | undefined {
  return safetensorsDTypes.find(([each]) => each === name)?.[1];
}

/** What safetensors calls a dtype; undefined where the format cannot hold it (int4, uint4, string). */
export function safetensorsNameOfDType(dtype: DType): string | undefined {
  return safetensorsDTypes.find(([, each]) => each === dtype)?.[0];
}

/** Place of a dtype in the serializer's order. */
export function safetensorsRank(dtype: DType): number {
  return safetensorsDTypes.findIndex(([, each]) => each === dtype);
}

import { type DType, LoomweightError } from "@loomweight/tensor";

/** TensorProto.DataType of onnx.proto (IR 10 and later). */
const names: Readonly<Record<number, DType>> = {
  1: "float32",
  2: "uint8",
  3: "int8",
  4: "uint16",
  5: "int16",
  6: "int32",
  7: "int64",
  8: "string",
  9: "bool",
  10: "float16",
  11: "float64",
  12: "uint32",
  13: "uint64",
  14: "complex64",
  16: "bfloat16",
  17: "float8_e4m3fn",
  19: "float8_e5m2",
  21: "uint4",
  22: "int4",
  23: "float4_e2m1fn",
  24: "float8_e8m0fnu",
};

const unsupportedNames: Readonly<Record<number, string>> = {
  15: "complex128",
  18: "float8_e4m3fnuz",
  20: "float8_e5m2fnuz",
  25: "uint2",
  26: "int2",
};

/** Whether this project knows ONNX's dtype `id`. */
export function isOnnxDtype(id: number): boolean {
  return Object.hasOwn(names, id);
}

/** dtype of an ONNX id; throws `UNSUPPORTED_DTYPE` naming it. */
export function dtypeOfOnnx(id: number, node?: string): DType {
  if (Object.hasOwn(names, id)) return names[id];
  throw new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: `element type ${unsupportedNames[id] ?? id} of ONNX is not supported`,
    node,
  });
}

/** ONNX id of a dtype; throws `UNSUPPORTED_DTYPE` for those that ONNX lacks (float6). */
export function onnxOfDtype(dtype: DType): number {
  for (const [id, name] of Object.entries(names)) if (name === dtype) return Number(id);
  throw new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: `ONNX has no element type ${dtype}`,
    fix: "Cast to float32 or float16 first.",
  });
}

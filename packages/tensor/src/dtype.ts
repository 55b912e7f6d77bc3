/**
 * Every element type a checkpoint or an ONNX graph can hold. One spelling everywhere; file formats map their own
 * names at the border. float4/float6 are carried raw (packed bytes), never computed with.
 */
export type DType = keyof StorageTypes;

/** The typed array that holds a dtype's codes: one element per array slot, never packed (float4/float6: raw bytes). */
export interface StorageTypes {
  float64: Float64Array;
  float32: Float32Array;
  /** IEEE half precision, as 16-bit codes. */
  float16: Uint16Array;
  /** The upper half of a float32, as 16-bit codes. */
  bfloat16: Uint16Array;
  float8_e4m3fn: Uint8Array;
  float8_e5m2: Uint8Array;
  float8_e8m0fnu: Uint8Array;
  /** Packed bytes as the file holds them, two codes a byte. */
  float4_e2m1fn: Uint8Array;
  /** Packed bytes as the file holds them, four codes in three bytes. */
  float6_e2m3fn: Uint8Array;
  float6_e3m2fn: Uint8Array;
  int8: Int8Array;
  uint8: Uint8Array;
  int16: Int16Array;
  uint16: Uint16Array;
  int32: Int32Array;
  uint32: Uint32Array;
  int64: BigInt64Array;
  uint64: BigUint64Array;
  /** 0 or 1, a byte each. */
  bool: Uint8Array;
  /** Real and imaginary float32 interleaved: two slots an element. */
  complex64: Float32Array;
  /** One code per slot here; two a byte in ONNX files. */
  int4: Int8Array;
  uint4: Uint8Array;
  /** ONNX only: UTF-8 text. */
  string: string[];
}

export type Storage<D extends DType = DType> = StorageTypes[D];

/** What is known about a dtype. `bits` = bits per element in a file; `slots` = array slots per element in memory. */
export interface DTypeFacts {
  readonly bits: number;
  readonly kind: "float" | "integer" | "unsigned" | "bool" | "complex" | "packed" | "text";
  readonly array: (new (buffer: ArrayBufferLike, byteOffset: number, length: number) => ArrayBufferView) | undefined;
}

export const dtypeFacts: Readonly<Record<DType, DTypeFacts>> = {
  float64: { bits: 64, kind: "float", array: Float64Array },
  float32: { bits: 32, kind: "float", array: Float32Array },
  float16: { bits: 16, kind: "float", array: Uint16Array },
  bfloat16: { bits: 16, kind: "float", array: Uint16Array },
  float8_e4m3fn: { bits: 8, kind: "float", array: Uint8Array },
  float8_e5m2: { bits: 8, kind: "float", array: Uint8Array },
  float8_e8m0fnu: { bits: 8, kind: "float", array: Uint8Array },
  float4_e2m1fn: { bits: 4, kind: "packed", array: Uint8Array },
  float6_e2m3fn: { bits: 6, kind: "packed", array: Uint8Array },
  float6_e3m2fn: { bits: 6, kind: "packed", array: Uint8Array },
  int8: { bits: 8, kind: "integer", array: Int8Array },
  uint8: { bits: 8, kind: "unsigned", array: Uint8Array },
  int16: { bits: 16, kind: "integer", array: Int16Array },
  uint16: { bits: 16, kind: "unsigned", array: Uint16Array },
  int32: { bits: 32, kind: "integer", array: Int32Array },
  uint32: { bits: 32, kind: "unsigned", array: Uint32Array },
  int64: { bits: 64, kind: "integer", array: BigInt64Array },
  uint64: { bits: 64, kind: "unsigned", array: BigUint64Array },
  bool: { bits: 8, kind: "bool", array: Uint8Array },
  complex64: { bits: 64, kind: "complex", array: Float32Array },
  int4: { bits: 4, kind: "integer", array: Int8Array },
  uint4: { bits: 4, kind: "unsigned", array: Uint8Array },
  string: { bits: 0, kind: "text", array: undefined },
};

/** Whether `name` is a dtype this project knows. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(dtypeFacts, name);
}

/** Floating-point dtypes whose values a kernel can read and write. */
export type FloatDType =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "float8_e4m3fn"
  | "float8_e5m2"
  | "float8_e8m0fnu";

export function isFloat(dtype: DType): dtype is FloatDType {
  return dtypeFacts[dtype].kind === "float";
}

/** Bytes that `elements` values of `dtype` take in a file (rounded up for packed dtypes). */
export function byteLengthOf(dtype: DType, elements: number): number {
  return Math.ceil((dtypeFacts[dtype].bits * elements) / 8);
}

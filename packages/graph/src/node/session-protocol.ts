import type { DType } from "@loomweight/tensor";

/** A tensor as it crosses between threads and into onnxruntime. */
export interface WireTensor {
  readonly type: string;
  readonly data: ArrayBufferView | string[];
  readonly dims: readonly number[];
}

export interface WireMetadata {
  readonly name: string;
  readonly type: string;
  /** "" and undefined stand for sizes without a name. */
  readonly shape: readonly (number | string | undefined)[];
}

export type Request = { readonly id: number } & (
  | { readonly kind: "open"; readonly model: string | Uint8Array; readonly options: Record<string, unknown> }
  | { readonly kind: "run"; readonly feeds: Record<string, WireTensor>; readonly outputs?: readonly string[] }
  | { readonly kind: "close" }
);

export type Response = { readonly id: number } & (
  | { readonly kind: "opened"; readonly inputs: readonly WireMetadata[]; readonly outputs: readonly WireMetadata[] }
  | { readonly kind: "ran"; readonly outputs: Record<string, WireTensor> }
  | { readonly kind: "closed" }
  | { readonly kind: "failed"; readonly reason: "missing" | "error"; readonly message: string }
);

/** dtypes that onnxruntime's JavaScript binding takes and gives; it calls them by the same names. */
export const wireDtypes: readonly DType[] = [
  "float32",
  "float64",
  "float16",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
  "bool",
  "string",
];

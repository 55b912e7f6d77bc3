import type { DType } from "@loomweight/tensor";

/** A tensor as it crosses between threads and into onnxruntime. */
export interface WireTensor {
  readonly type: string;
  readonly data: ArrayBufferView | string[];
  readonly dims: readonly number[];
}

/** What a compiled program does with a state. */
export interface ProgramPlan {
  /** Inputs of the graph that are tensors of the state, by its names. */
  readonly stateInputs: readonly string[];
  /** Outputs of the graph that replace tensors of the state. */
  readonly updates: readonly { readonly output: string; readonly state: string }[];
  /** Outputs that are given back. */
  readonly outputs: readonly string[];
}

export type HostRequest = { readonly id: number } & (
  | { readonly kind: "start"; readonly settings: HostSettings }
  | { readonly kind: "state"; readonly tensors: Record<string, WireTensor> }
  | { readonly kind: "read"; readonly state: number; readonly names: readonly string[] }
  | { readonly kind: "write"; readonly state: number; readonly tensors: Record<string, WireTensor> }
  | { readonly kind: "snapshot" | "undo" | "closeState"; readonly state: number }
  | {
      readonly kind: "compile";
      readonly model: Uint8Array;
      readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
      readonly plan: ProgramPlan;
      readonly state?: number;
    }
  | {
      readonly kind: "run";
      readonly program: number;
      readonly feeds: Record<string, WireTensor>;
      readonly outputs?: readonly string[];
    }
  | { readonly kind: "closeProgram"; readonly program: number }
  | { readonly kind: "close" }
);

export type HostResponse = { readonly id: number } & (
  | { readonly kind: "done"; readonly value?: number; readonly tensors?: Record<string, WireTensor> }
  | { readonly kind: "failed"; readonly reason: "missing" | "error"; readonly message: string }
);

/** How sessions are opened; plain data. */
export interface HostSettings {
  readonly providers: readonly string[];
  readonly sessionOptions: Readonly<Record<string, unknown>>;
  /** States live on the first provider's device. */
  readonly onDevice: boolean;
  /** Models that give back their input, by dtype: how tensors get to the device and back. */
  readonly identities: Readonly<Record<string, Uint8Array>>;
}

/** A request without the number it is answered under. */
export type HostQuestion = HostRequest extends infer R ? (R extends unknown ? Omit<R, "id"> : never) : never;

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

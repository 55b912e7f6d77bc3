import type { DType } from "@loomweight/tensor";
import type { Attributes, Dim, LazyTensor } from "./value.ts";

/** An ONNX file as plain data. Weights stay where they are until they are read. */
export interface OnnxModel {
  readonly irVersion: number;
  readonly producer: { readonly name: string; readonly version: string };
  /** Domain ("" is the standard one) → version. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly graph: OnnxGraph;
  readonly functions: readonly OnnxFunction[];
  /** `metadata_props`. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly domain?: string;
  readonly modelVersion?: bigint;
  readonly docString?: string;
  readonly unknown?: UnknownFields;
}

/** Protobuf fields this project has no name for, as they stood in the file; written back at the end of the message. */
export type UnknownFields = Uint8Array;

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly initializers: ReadonlyMap<string, Initializer>;
  /** Types of values inside the graph. */
  readonly valueInfo: ReadonlyMap<string, ValueInfo>;
  readonly docString?: string;
  readonly unknown?: UnknownFields;
}

export interface OnnxNode {
  readonly op: string;
  /** "" is the standard domain. */
  readonly domain: string;
  readonly name: string;
  /** "" = an optional input left out. */
  readonly inputs: readonly string[];
  /** "" = an optional output not wanted. */
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
  readonly docString?: string;
  readonly unknown?: UnknownFields;
}

/** Name and type of a graph's input, output or inner value. */
export interface ValueInfo {
  readonly name: string;
  /** undefined: not a tensor (a sequence, an optional), or the file does not say; see `type`. */
  readonly dtype: DType | undefined;
  /** undefined: the rank is not known. "?" = a size that the file does not name. */
  readonly shape: readonly Dim[] | undefined;
  readonly docString?: string;
  /** The TypeProto as it stood in the file, where `dtype` and `shape` do not say everything. */
  readonly type?: Uint8Array;
  readonly unknown?: UnknownFields;
}

/** A weight or constant of a graph. */
export interface Initializer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: LazyTensor;
  readonly docString?: string;
  readonly unknown?: UnknownFields;
}

/** A model-local function: only its name is looked at. */
export interface OnnxFunction {
  readonly name: string;
  readonly domain: string;
  /** The whole FunctionProto. */
  readonly bytes: Uint8Array;
}

import type { DType, Tensor } from "@loomweight/tensor";
import type { OnnxGraph } from "./model.ts";

/** A size known at build time, or the name of one known when the graph runs ("batch_size"). */
export type Dim = number | string;

/** Weights of a graph, read when needed: a checkpoint tensor, or something computed from it one tensor at a time. */
export interface LazyTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The whole tensor. */
  read(): Promise<Tensor>;
  /**
   * The bytes an ONNX file holds for it, row-major and little-endian, in parts that are valid until the next one is
   * asked for. Writers prefer it to `read`: a large weight then never lies in memory as a whole.
   */
  stream?(): AsyncIterable<Uint8Array>;
  /** Of a tensor that lies in a file: bytes [start, end) of those that `stream` gives, without the rest. */
  bytes?(start: number, end: number): Promise<Uint8Array>;
  /**
   * Of a matrix that is kept the other way round (a linear weight [out, in]): its columns one after another, as codes
   * of `dtype`, its own or `stored`, in parts that are valid until the next one is asked for.
   */
  readonly columns?: { readonly stored: DType; stream(dtype: DType): AsyncIterable<Uint8Array> };
  /**
   * Where the elements are kept in a narrower dtype than the tensor's: the same row-major elements as codes of `dtype`,
   * its own or `stored`, in parts that are valid until the next one is asked for.
   */
  readonly elements?: { readonly stored: DType; stream(dtype: DType): AsyncIterable<Uint8Array> };
  /** Of a weight that lies beside its ONNX file: in which file of that folder, and where there. */
  readonly external?: { readonly location: string; readonly offset: number; readonly byteLength: number };
  /** Tensors of one object are computed at once: they are cheapest to read one after another. */
  readonly together?: object;
  /** What it was made from, for re-weighting, inspection and messages: checkpoint tensor names and what was done. */
  readonly origin?: { readonly tensors: readonly string[]; readonly transform?: string };
}

/** Something a graph computes: an input, a weight, or an output of a node. Plain data; created by the ops. */
export interface GraphValue {
  readonly kind: "input" | "parameter" | "node";
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  /** Inputs and parameters carry their name, imported values that of the file; others get one when the model is assembled. */
  readonly name?: string;
  /** kind "parameter". */
  readonly data?: LazyTensor;
  /** kind "node": the node and which of its outputs this is. */
  readonly node?: GraphNode;
  readonly output?: number;
  /** Elements of a small integer vector that follow from shapes: what `shapeOf` and arithmetic on it give. */
  readonly known?: readonly Dim[];
}

export interface GraphNode {
  readonly op: string;
  /** "" is the standard domain. */
  readonly domain: string;
  /** undefined = an optional input left out. */
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  /** What the bodies of an If, Loop or Scan take from around them, by the names they use for it. */
  readonly captures?: Readonly<Record<string, Value>>;
  /** Scope and name given where it was built: "/layers.0/attn/q_proj". */
  readonly name?: string;
  readonly outputs: readonly GraphValue[];
  /** How gradients pass the node where they do not follow the rule of its op. */
  readonly backward?: Backward;
}

/** The backward pass of what `stopGradient`, `customGradient` and `checkpoint` return. */
export interface Backward {
  /** The values that receive a gradient. */
  readonly inputs: readonly Value[];
  /**
   * Their gradients from that of the node's output; undefined = none. `wants` says which are asked for; `inputs` and
   * `result` are those of the node at hand, which may be a copy in another part of the graph.
   */
  pull(call: {
    readonly upstream: Value;
    readonly wants: readonly boolean[];
    readonly inputs: readonly Value[];
    readonly result: Value;
  }): readonly (Value | undefined)[];
}

export type AttributeValue = AnyAttribute & {
  /** Protobuf fields beside the value (a doc string), as they stood in the file. */
  readonly extra?: Uint8Array;
};

type AnyAttribute =
  | { readonly type: "int"; readonly value: bigint | number }
  | { readonly type: "float"; readonly value: number }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "ints"; readonly value: readonly (bigint | number)[] }
  | { readonly type: "floats"; readonly value: readonly number[] }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "tensor"; readonly value: Tensor; readonly tensorName?: string }
  | { readonly type: "tensors"; readonly value: readonly Tensor[] }
  /** Body of If, Loop, Scan. */
  | { readonly type: "graph"; readonly value: OnnxGraph }
  | { readonly type: "graphs"; readonly value: readonly OnnxGraph[] }
  /** A whole AttributeProto as it stood in the file: kinds this project does not take apart. */
  | { readonly type: "raw"; readonly value: Uint8Array };

export type Attributes = Readonly<Record<string, AttributeValue>>;

/**
 * What ops take and return: a concrete tensor or something symbolic. An op whose operands are all tensors is
 * evaluated at once; with any symbolic operand it adds a node.
 */
export type Value = Tensor | GraphValue;

/** An operand of an op: a number takes the dtype of the other operand. */
export type Operand = Value | number;

export function isGraphValue(value: Value): value is GraphValue {
  return "kind" in value;
}

export function isTensor(value: Operand | undefined): value is Tensor {
  return typeof value === "object" && !("kind" in value);
}

import type { Checkpoint } from "@loomweight/checkpoint";
import { type DType, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { castTensor } from "./evaluate/numbers.ts";
import { canStream, createScratch, type Scratch, streamTensor } from "./lazy-bytes.ts";
import { makeNode } from "./op.ts";
import { scopedName } from "./scope.ts";
import type { Attributes, Dim, GraphValue, LazyTensor, Value } from "./value.ts";

/** An input of a graph; a text names a size that is known when the graph runs. */
export function input(name: string, dtype: DType, shape: readonly Dim[]): GraphValue {
  return { kind: "input", name, dtype, shape: [...shape] };
}

/** A weight of a graph, read when the model is written. */
export function parameter(name: string, data: LazyTensor): GraphValue {
  return { kind: "parameter", name, dtype: data.dtype, shape: data.shape, data };
}

export interface ParameterFromOptions {
  /** [out, in] of a linear weight becomes [in, out], as MatMul takes it. Rank 2 only. Default false. */
  readonly transpose?: boolean;
  /** Name in the graph; default the tensor's. */
  readonly as?: string;
  /** Cast while reading; default the tensor's. */
  readonly dtype?: DType;
  /** Memory to stream in, shared by the weights of a model that are written one after another; default each its own. */
  readonly scratch?: Scratch;
}

/**
 * A weight straight from a checkpoint, as a lazy parameter that remembers where it came from. Throws `UNKNOWN_TENSOR`,
 * `SHAPE_MISMATCH`.
 */
export function parameterFrom(checkpoint: Checkpoint, name: string, options: ParameterFromOptions = {}): GraphValue {
  return parameter(options.as ?? name, lazyFrom(checkpoint, name, options));
}

/** What `parameterFrom` reads: a tensor of a checkpoint, transposed (a view) or cast on the way. */
export function lazyFrom(
  checkpoint: Checkpoint,
  name: string,
  { transpose = false, dtype, scratch }: Omit<ParameterFromOptions, "as"> = {},
): LazyTensor {
  const info = checkpoint.tensors.get(name);
  if (info === undefined) {
    throw unknownName({
      kind: "tensor",
      name,
      known: checkpoint.tensors.keys(),
      code: "UNKNOWN_TENSOR",
      file: checkpoint.location,
    });
  }
  if (transpose && info.shape.length !== 2) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "only a matrix can be transposed",
      file: info.file,
      tensor: name,
      expected: "two axes",
      found: `[${info.shape}]`,
    });
  }
  const steps = [
    transpose ? "transpose" : undefined,
    dtype !== undefined && dtype !== info.dtype ? `cast ${dtype}` : undefined,
  ];
  const transform = steps.filter((step) => step !== undefined).join(", ");
  return {
    dtype: dtype ?? info.dtype,
    shape: transpose ? [info.shape[1], info.shape[0]] : info.shape,
    origin: { tensors: [name], ...(transform === "" ? {} : { transform }) },
    async read() {
      const tensor = await checkpoint.read(name);
      const wanted = dtype === undefined ? tensor : castTensor(tensor, dtype);
      return transpose ? transposedView(wanted) : wanted;
    },
    ...(canStream(info, false, dtype ?? info.dtype) && {
      [transpose ? "columns" : "elements"]: {
        stored: info.dtype,
        stream: (as: DType) =>
          streamTensor(checkpoint, info, { transpose: false, dtype: as, scratch: scratch ?? createScratch() }),
      },
    }),
    ...(canStream(info, transpose, dtype ?? info.dtype) && {
      stream: () =>
        streamTensor(checkpoint, info, {
          transpose,
          dtype: dtype ?? info.dtype,
          scratch: scratch ?? createScratch(),
        }),
    }),
  };
}

function transposedView(tensor: Tensor): Tensor {
  return {
    ...tensor,
    shape: [tensor.shape[1], tensor.shape[0]],
    stride: [tensor.stride[1], tensor.stride[0]],
  };
}

/** A tensor in memory as a lazy one. */
export function lazyTensor(tensor: Tensor, origin?: LazyTensor["origin"]): LazyTensor {
  return { dtype: tensor.dtype, shape: tensor.shape, origin, read: async () => tensor };
}

export interface NodeOptions {
  /** Default "", the standard domain. */
  readonly domain?: string;
  readonly attributes?: Attributes;
  readonly outputs: readonly { readonly dtype: DType; readonly shape: readonly Dim[] }[];
  /** Default the op, inside the present scope. */
  readonly name?: string;
}

/** Any node at all: the general form, for ops without a function of their own. */
export function node(op: string, inputs: readonly (Value | undefined)[], options: NodeOptions): readonly GraphValue[] {
  return makeNode(
    {
      op,
      domain: options.domain ?? "",
      inputs,
      attributes: options.attributes ?? {},
      name: scopedName(options.name ?? op),
    },
    options.outputs,
  );
}

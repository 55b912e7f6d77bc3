import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { concatenate, type DType, LoomweightError, shapeMismatch, type Tensor, unknownName } from "@loomweight/tensor";
import { castTensor } from "./evaluate/numbers.ts";
import { canStream, createScratch, type Scratch, streamTensors } from "./lazy-bytes.ts";
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
 * A weight straight from a checkpoint, as a lazy parameter that remembers where it came from; of several tensors, which need
 * a name (`as`), one below the other. Throws `UNKNOWN_TENSOR`, `SHAPE_MISMATCH`.
 */
export function parameterFrom(
  checkpoint: Checkpoint,
  name: string | readonly string[],
  options: ParameterFromOptions = {},
): GraphValue {
  const own = typeof name === "string" ? name : name.join("+");
  return parameter(options.as ?? own, lazyFrom(checkpoint, name, options));
}

/**
 * What `parameterFrom` reads: a tensor of a checkpoint, transposed (a view) or cast on the way; or the rows of several, one
 * below the other, then transposed or cast: [out₁ + out₂ + …, in] or [in, out₁ + out₂ + …].
 */
export function lazyFrom(
  checkpoint: Checkpoint,
  name: string | readonly string[],
  { transpose = false, dtype, scratch }: Omit<ParameterFromOptions, "as"> = {},
): LazyTensor {
  const names = typeof name === "string" ? [name] : name;
  const infos = names.map((each) => infoOf(checkpoint, each));
  const [info] = infos;
  if (transpose && info.shape.length !== 2) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "only a matrix can be transposed",
      file: info.file,
      tensor: info.name,
      expected: "two axes",
      found: `[${info.shape}]`,
    });
  }
  const shape = shapeBelow(infos);
  const wanted = dtype ?? info.dtype;
  const steps = [
    infos.length > 1 ? "join" : undefined,
    transpose ? "transpose" : undefined,
    wanted !== info.dtype ? `cast ${wanted}` : undefined,
  ];
  const transform = steps.filter((step) => step !== undefined).join(", ");
  const alike = infos.every((each) => each.dtype === info.dtype);
  const streams = (turned: boolean) => alike && canStream(info, turned, wanted);
  const stream = (turned: boolean, as: DType) =>
    streamTensors(checkpoint, infos, { transpose: turned, dtype: as, scratch: scratch ?? createScratch() });
  return {
    dtype: wanted,
    shape: transpose ? [shape[1], shape[0]] : shape,
    origin: { tensors: names, ...(transform === "" ? {} : { transform }) },
    async read() {
      const tensors: Tensor[] = [];
      for (const each of infos) {
        const tensor = await checkpoint.read(each.name);
        tensors.push(each.dtype === wanted ? tensor : castTensor(tensor, wanted));
      }
      const joined = tensors.length === 1 ? tensors[0] : concatenate(tensors, 0);
      return transpose ? transposedView(joined) : joined;
    },
    ...(streams(false) && {
      [transpose ? "columns" : "elements"]: { stored: info.dtype, stream: (as: DType) => stream(false, as) },
    }),
    ...(streams(transpose) && { stream: () => stream(transpose, wanted) }),
  };
}

function infoOf(checkpoint: Checkpoint, name: string): TensorInfo {
  const info = checkpoint.tensors.get(name);
  if (info !== undefined) return info;
  throw unknownName({
    kind: "tensor",
    name,
    known: checkpoint.tensors.keys(),
    code: "UNKNOWN_TENSOR",
    file: checkpoint.location,
  });
}

/** Shape of tensors one below the other; throws `SHAPE_MISMATCH` where their rows differ. */
function shapeBelow([first, ...others]: readonly TensorInfo[]): readonly number[] {
  for (const { name, file, shape } of others) {
    if (shape.length > 0 && `${shape.slice(1)}` === `${first.shape.slice(1)}`) continue;
    throw shapeMismatch({
      where: "lazyFrom",
      tensor: name,
      expected: { from: first.name, shape: first.shape },
      got: { from: file, shape },
      fix: "Only tensors whose rows have one shape lie one below the other.",
    });
  }
  if (others.length === 0) return first.shape;
  return [[first, ...others].reduce((sum, { shape }) => sum + shape[0], 0), ...first.shape.slice(1)];
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

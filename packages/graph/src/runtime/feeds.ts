import {
  contiguousData,
  type DType,
  fromData,
  LoomweightError,
  type Storage,
  type Tensor,
  unknownName,
} from "@loomweight/tensor";
import type { Dim } from "../value.ts";
import { type WireTensor, wireDtypes } from "./protocol.ts";

/** Name and type of an input or output. "?" = a size without a name. */
export interface SessionValue {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

/** Every input fed, nothing else fed, and all of the right type; faults name the input. */
export function checkFeeds(
  inputs: readonly SessionValue[],
  feeds: Readonly<Record<string, Tensor>>,
  file?: string,
): void {
  const known = inputs.map((each) => each.name);
  for (const name of Object.keys(feeds)) {
    if (!known.includes(name)) throw unknownName({ kind: "input", name, known, code: "UNKNOWN_INPUT", file });
  }
  for (const { name, dtype, shape } of inputs) {
    const tensor = feeds[name];
    if (tensor === undefined) {
      throw new LoomweightError({
        code: "MISSING_INPUT",
        problem: `the input "${name}" is not given`,
        file,
        tensor: name,
        expected: `${dtype} [${shape}]`,
      });
    }
    checkType(name, tensor, { dtype, shape }, file);
  }
}

/** The dtype and shape of one tensor; a text stands for any size. */
export function checkType(
  name: string,
  tensor: { readonly dtype: DType; readonly shape: readonly Dim[] },
  { dtype, shape }: { readonly dtype: DType; readonly shape: readonly Dim[] },
  file?: string,
): void {
  if (tensor.dtype !== dtype) {
    throw new LoomweightError({
      code: "DTYPE_MISMATCH",
      problem: "the input has the wrong dtype",
      file,
      tensor: name,
      expected: dtype,
      found: tensor.dtype,
    });
  }
  const fits =
    tensor.shape.length === shape.length &&
    shape.every((dim, axis) => typeof dim === "string" || dim === tensor.shape[axis]);
  if (!fits) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "the input has the wrong shape",
      file,
      tensor: name,
      expected: `[${shape}]`,
      found: `[${tensor.shape}]`,
    });
  }
}

/**
 * A tensor ready to be sent: its memory is copied where the tensor is a small window of a large one, which sending
 * would copy as a whole. bfloat16 travels as uint16.
 */
export function wireTensor(tensor: Tensor): WireTensor {
  const type = tensor.dtype === "bfloat16" ? "uint16" : tensor.dtype;
  if (!wireDtypes.includes(type as DType)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: `onnxruntime cannot pass ${tensor.dtype} tensors`,
      fix: "Cast it to float32 inside the graph.",
    });
  }
  const data = contiguousData(tensor) as Storage;
  const view = data as unknown as Float32Array;
  const window = !Array.isArray(data) && view.byteLength < view.buffer.byteLength;
  return { type, data: window ? view.slice() : (data as ArrayBufferView), dims: [...tensor.shape] };
}

/** A copy of its own, so that the receiver may keep the memory it is sent. */
export function ownWireTensor(tensor: Tensor): WireTensor {
  const wire = wireTensor(tensor);
  if (Array.isArray(wire.data)) return wire;
  const data = wire.data as Float32Array;
  const isCopy = data.buffer !== (tensor.data as unknown as Float32Array).buffer; // of a view with strides
  return isCopy ? wire : { ...wire, data: data.slice() };
}

/** What came back, with the dtype it stands for. */
export function fromWire({ type, data, dims }: WireTensor, dtype: DType = type as DType): Tensor {
  const given = data as unknown as { length: number; buffer: ArrayBuffer; byteOffset: number };
  // Float16Array, where the engine has it, becomes the codes that this project holds.
  const codes =
    dtype === "float16" && !(data instanceof Uint16Array)
      ? new Uint16Array(given.buffer, given.byteOffset, given.length)
      : data;
  return fromData(dtype, codes as Storage, [...dims]);
}

import { tensorBytes, tensorFromBytes } from "@loomweight/checkpoint";
import { dtypeOfOnnx, onnxOfDtype } from "@loomweight/graph";
import type { GraphName } from "@loomweight/models";
import { elementCount, isFloat, LoomweightError, shapeMismatch, type Tensor, toFloat32 } from "@loomweight/tensor";
import { flatWriter, readFlatTable } from "./flatbuffer.ts";
import { slotTensors } from "./slot-tensors.ts";
import type { AdapterValues, ModuleValues } from "./slot-values.ts";
import { type AdapterSlots, slotInputs } from "./slots.ts";

/** An .onnx_adapter file of onnxruntime: the inputs of a graph that make up one adapter. */
export interface AdapterFile {
  /** For messages. */
  readonly location?: string;
  readonly adapterVersion?: number;
  readonly modelVersion?: number;
  /** Input of the graph → its value. */
  readonly parameters: ReadonlyMap<string, Tensor>;
}

const identifier = "TORT";
const formatVersion = 1;
/** Bounds for files of unknown origin. */
const limits = { parameters: 300_000, name: 4096, rank: 8, bytes: 2 ** 31 - 1 };

/**
 * The values of an adapter as the file that onnxruntime itself loads (`add_active_adapter`). It holds the inputs of one
 * graph, those of untouched slots as zeros among them, since onnxruntime wants every input.
 */
export function adapterFile(slots: AdapterSlots, values: AdapterValues, graph: GraphName = "model"): AdapterFile {
  const parameters = new Map(Object.entries(slotTensors(slots, graph, [values])));
  return { location: values.location, parameters };
}

/**
 * Writes an .onnx_adapter file: FlatBuffers with the schema Adapter { format_version, adapter_version, model_version:
 * int; parameters: [Parameter { name: string; dims: [int64]; data_type: int; raw_data: [uint8], at multiples of 8 }] }
 * (onnxruntime, onnxruntime/lora/adapter_format/adapter_schema.fbs, format 1). Throws `FILE_TOO_LARGE` above 2 GB.
 */
export function writeOnnxAdapter({ adapterVersion = 1, modelVersion = 1, parameters }: AdapterFile): Uint8Array {
  const entries = [...parameters].map(([name, tensor]) => ({
    name: new TextEncoder().encode(name),
    shape: tensor.shape,
    type: onnxOfDtype(tensor.dtype),
    data: tensorBytes(tensor),
  }));
  const size = entries.reduce(
    (sum, { name, shape, data }) => sum + 80 + name.length + 8 * shape.length + data.length,
    96,
  );
  if (size > limits.bytes) {
    throw new LoomweightError({
      code: "FILE_TOO_LARGE",
      problem: "an .onnx_adapter file holds less than 2 GB",
      found: `${size} bytes`,
    });
  }
  const out = flatWriter(size);
  const toRoot = out.offset();
  out.bytes(new TextEncoder().encode(identifier));
  const layout = out.position();
  for (const value of [12, 20, 4, 8, 12, 16]) out.u16(value); // size of the layout, of the table, places of four fields
  out.align(4);
  toRoot();
  out.i32(out.position() - layout);
  for (const version of [formatVersion, adapterVersion, modelVersion]) out.i32(version);
  const toList = out.offset();
  toList();
  out.i32(entries.length);
  const toEntries = entries.map(() => out.offset());
  for (const [i, { name, shape, type, data }] of entries.entries()) {
    out.align(4);
    toEntries[i]();
    out.i32(out.position() - layout); // both tables have four fields at the same places
    const toName = out.offset();
    const toShape = out.offset();
    out.i32(type);
    const toData = out.offset();
    toName();
    out.i32(name.length);
    out.bytes(name);
    out.bytes(new Uint8Array(1)); // texts end in a zero that is not counted
    out.align(8, 4);
    toShape();
    out.i32(shape.length);
    for (const dim of shape) out.i64(BigInt(dim));
    out.align(8, 4);
    toData();
    out.i32(data.length);
    out.bytes(data);
  }
  return out.finish();
}

/** Reads an .onnx_adapter file. Throws `INVALID_FLATBUFFER`, `UNSUPPORTED_FORMAT`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`. */
export function readOnnxAdapter(file: Uint8Array, name = "adapter.onnx_adapter"): AdapterFile {
  const root = readFlatTable(file, identifier, name);
  const version = root.int32(0, 0);
  if (version !== formatVersion) {
    throw new LoomweightError({
      code: "UNSUPPORTED_FORMAT",
      problem: "an .onnx_adapter file of another format",
      file: name,
      expected: `${formatVersion}`,
      found: `${version}`,
    });
  }
  const parameters = new Map<string, Tensor>();
  for (const entry of root.tables(3, limits.parameters)) {
    const tensor = entry.text(0, limits.name);
    const dtype = dtypeOfOnnx(entry.int32(2, 0), tensor);
    const shape = entry.int64s(1, limits.rank).map((dim) => (dim >= 0n && dim < 2n ** 31n ? Number(dim) : Number.NaN));
    const bytes = entry.bytes(3);
    if (shape.some(Number.isNaN) || elementCount(shape) > bytes.length * 2) throw badSize(name, tensor, shape, bytes);
    if (parameters.has(tensor)) {
      throw new LoomweightError({
        code: "DUPLICATE_TENSOR",
        problem: "two parameters of one name",
        file: name,
        tensor,
      });
    }
    // a copy: the bytes of a file may lie anywhere in memory
    parameters.set(
      tensor,
      checkedTensor(dtype, shape, bytes.slice(), () => badSize(name, tensor, shape, bytes)),
    );
  }
  return { location: name, adapterVersion: root.int32(1, 0), modelVersion: root.int32(2, 0), parameters };
}

function checkedTensor(
  dtype: Tensor["dtype"],
  shape: readonly number[],
  bytes: Uint8Array,
  fault: () => LoomweightError,
): Tensor {
  try {
    return tensorFromBytes(dtype, shape, bytes);
  } catch {
    throw fault();
  }
}

function badSize(file: string, tensor: string, shape: readonly number[], bytes: Uint8Array): LoomweightError {
  return new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: "a parameter's data does not fit its shape",
    file,
    tensor,
    expected: `[${shape}]`,
    found: `${bytes.length} bytes`,
  });
}

/**
 * What an .onnx_adapter file puts into the slots. Throws `NO_ADAPTER_SLOT` for parameters that are no inputs of slots,
 * `SHAPE_MISMATCH`, `MISSING_TENSOR` for a factor without the other.
 */
export function valuesOfFile(slots: AdapterSlots, file: AdapterFile): AdapterValues {
  const { parameters, location = "the .onnx_adapter file" } = file;
  const known = new Set(slotInputs(slots));
  const stranger = [...parameters.keys()].find((name) => !known.has(name));
  if (stranger !== undefined) {
    throw new LoomweightError({
      code: "NO_ADAPTER_SLOT",
      problem: "the file has a parameter that is no input of the export's slots",
      file: location,
      tensor: stranger,
      expected: `inputs such as "${[...known][0]}"`,
      fix: "Write the file for this export again.",
    });
  }
  const modules = new Map<string, ModuleValues>();
  for (const [path, slot] of Object.entries(slots.modules)) {
    const [A, B] = [parameters.get(slot.A), parameters.get(slot.B)];
    const scale = slot.scale === undefined ? undefined : parameters.get(slot.scale);
    if (A === undefined && B === undefined && scale === undefined) continue;
    if (A === undefined || B === undefined) {
      throw new LoomweightError({
        code: "MISSING_TENSOR",
        problem: "the file holds one factor of a slot without the other",
        file: location,
        expected: `"${slot.A}" and "${slot.B}"`,
      });
    }
    const leading = slots.layout === "rows" ? [1] : [];
    const rank = A.shape[A.shape.length - 1] ?? 0;
    modules.set(path, {
      rank,
      A: values(A, [...leading, slot.in, rank], slot.A, location),
      B: values(B, [...leading, rank, slot.out], slot.B, location),
      ...(scale === undefined ? {} : { scale: values(scale, [...leading, slot.out], slot.scale as string, location) }),
    });
  }
  return { location, modules, warnings: [] };
}

function values(tensor: Tensor, shape: readonly number[], name: string, location: string): Float32Array {
  if (
    !isFloat(tensor.dtype) ||
    tensor.shape.length !== shape.length ||
    tensor.shape.some((size, i) => size !== shape[i])
  ) {
    throw shapeMismatch({
      where: location,
      tensor: name,
      expected: { from: "the slot (float)", shape },
      got: { from: `the file (${tensor.dtype})`, shape: tensor.shape },
      fix: "The file was written for another export.",
    });
  }
  return toFloat32(tensor);
}

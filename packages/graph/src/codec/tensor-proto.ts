import {
  allocate,
  type DType,
  elementCount,
  fromData,
  LoomweightError,
  type Storage,
  type Tensor,
} from "@loomweight/tensor";
import { dtypeOfOnnx, onnxOfDtype } from "../onnx-dtype.ts";
import {
  type Cursor,
  expectType,
  fixed32Type,
  fixed64Type,
  lengthType,
  malformed,
  readBytes,
  readDouble,
  readFloat,
  readInt64,
  readInteger,
  readRepeated,
  readTag,
  readText,
  varintType,
} from "../protobuf/reader.ts";
import { bytesField, type EncodedField, intField, optionalText } from "../protobuf/writer.ts";
import { bytesOfTensor, tensorFromBytes } from "./codes.ts";
import { collectUnknown, unknownFields } from "./unknown.ts";

/** A TensorProto taken apart; large fields may be missing, see `holes`. */
export interface TensorRecord {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly docString?: string;
  readonly unknown?: Uint8Array;
  readonly raw?: Uint8Array;
  readonly external?: ExternalLocation;
  /** Values in the older typed fields. */
  readonly typed?: TypedData;
}

export interface ExternalLocation {
  readonly location: string;
  readonly offset: number;
  /** undefined: as many bytes as dtype and shape say. */
  readonly length?: number;
}

interface TypedData {
  readonly floats: number[];
  readonly integers: bigint[];
  readonly doubles: number[];
  readonly strings: string[];
}

const mostAxes = 64;

export function decodeTensor(cursor: Cursor): TensorRecord {
  const dims: number[] = [];
  const typed: TypedData = { floats: [], integers: [], doubles: [], strings: [] };
  const entries = new Map<string, string>();
  const unknown = collectUnknown();
  let [type, name, location] = [0, "", 0];
  let docString: string | undefined;
  let raw: Uint8Array | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    switch (field.number) {
      case 1:
        readRepeated(cursor, field, varintType, readInteger, dims);
        break;
      case 2:
        expectType(cursor, field, varintType);
        type = readInteger(cursor);
        break;
      case 4:
        readRepeated(cursor, field, fixed32Type, readFloat, typed.floats);
        break;
      case 5:
      case 7:
      case 11:
        readRepeated(cursor, field, varintType, readInt64, typed.integers);
        break;
      case 6:
        expectType(cursor, field, lengthType);
        typed.strings.push(readText(cursor));
        break;
      case 8:
        expectType(cursor, field, lengthType);
        name = readText(cursor);
        break;
      case 9:
        expectType(cursor, field, lengthType);
        raw = readBytes(cursor);
        break;
      case 10:
        readRepeated(cursor, field, fixed64Type, readDouble, typed.doubles);
        break;
      case 12:
        expectType(cursor, field, lengthType);
        docString = readText(cursor);
        break;
      case 13: {
        expectType(cursor, field, lengthType);
        const { at, end } = { at: cursor.at, end: cursor.end };
        const [key, value] = decodeEntry({ ...cursor, at, end });
        readBytes(cursor);
        entries.set(key, value);
        break;
      }
      case 14:
        expectType(cursor, field, varintType);
        location = readInteger(cursor);
        break;
      case 3:
        throw malformed(cursor.file, "tensors in segments are not supported");
      default:
        unknown.keep(cursor, field);
    }
  }
  checkShape(cursor.file, name, dims);
  const values = typed.floats.length + typed.integers.length + typed.doubles.length + typed.strings.length;
  return {
    name,
    dtype: tensorDtype(cursor.file, name, type),
    shape: dims,
    docString,
    unknown: unknown.bytes(),
    raw,
    external: location === 1 ? externalLocation(cursor.file, name, entries) : undefined,
    typed: values > 0 ? typed : undefined,
  };
}

/** Key and value of a StringStringEntryProto that begins with its length at the cursor. */
export function decodeEntry(cursor: Cursor): [key: string, value: string] {
  const bytes = readBytes(cursor);
  const inner = { bytes, at: 0, end: bytes.length, file: cursor.file };
  let [key, value] = ["", ""];
  for (let field = readTag(inner); field !== undefined; field = readTag(inner)) {
    expectType(inner, field, lengthType);
    if (field.number === 1) key = readText(inner);
    else if (field.number === 2) value = readText(inner);
    else readBytes(inner);
  }
  return [key, value];
}

function tensorDtype(file: string, name: string, type: number): DType {
  try {
    return dtypeOfOnnx(type);
  } catch (cause) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: `element type ${type} is not supported`,
      file,
      tensor: name,
      cause,
    });
  }
}

/** Throws `INVALID_ONNX` unless the sizes are whole, not negative, and few enough to count. */
export function checkShape(file: string, tensor: string, dims: readonly number[]): void {
  let count = 1;
  for (const size of dims) count *= Math.max(1, size);
  if (dims.length > mostAxes || dims.some((size) => size < 0) || !Number.isSafeInteger(count * 16)) {
    throw malformed(file, `tensor "${tensor}" has an impossible shape`, { found: `[${dims.slice(0, 8)}]` });
  }
}

function externalLocation(file: string, tensor: string, entries: ReadonlyMap<string, string>): ExternalLocation {
  const whole = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
      throw malformed(file, `external data of tensor "${tensor}" has an impossible ${key}`, { found: text });
    }
    return value;
  };
  const location = entries.get("location") ?? "";
  if (location === "") throw malformed(file, `external data of tensor "${tensor}" names no file`);
  return { location, offset: whole("offset") ?? 0, length: whole("length") };
}

/** The tensor of a record whose data lies in the file itself. */
export function tensorOfRecord(record: TensorRecord, file: string): Tensor {
  const { dtype, shape, name, raw, typed } = record;
  if (dtype === "string") {
    const strings = typed?.strings ?? [];
    if (strings.length !== elementCount(shape)) throw wrongCount(file, name, elementCount(shape), strings.length);
    return fromData<DType>("string", strings, shape);
  }
  if (raw !== undefined) return tensorFromBytes(dtype, shape, raw, file);
  return typedTensor(record, file);
}

function wrongCount(file: string, tensor: string, expected: number, found: number): LoomweightError {
  return malformed(file, `tensor "${tensor}" does not have as many values as its shape says`, {
    expected: `${expected}`,
    found: `${found}`,
  });
}

/** Values in float_data, int32_data and the like: one number each, 4-bit codes two to a number. */
function typedTensor({ dtype, shape, name, typed }: TensorRecord, file: string): Tensor {
  const count = elementCount(shape);
  const values = typed ?? { floats: [], integers: [], doubles: [], strings: [] };
  if (dtype === "int4" || dtype === "uint4" || dtype === "float4_e2m1fn") {
    return tensorFromBytes(
      dtype,
      shape,
      Uint8Array.from(values.integers, (value) => Number(value & 255n)),
      file,
    );
  }
  const slots = dtype === "complex64" ? 2 * count : count;
  const list =
    dtype === "float32" || dtype === "complex64"
      ? values.floats
      : dtype === "float64"
        ? values.doubles
        : values.integers;
  if (list.length !== slots) throw wrongCount(file, name, slots, list.length);
  const out = allocate(dtype, count) as Storage;
  if (dtype === "int64" || dtype === "uint64") {
    for (let i = 0; i < slots; i++) (out as BigInt64Array)[i] = list[i] as bigint;
  } else for (let i = 0; i < slots; i++) (out as Float32Array)[i] = Number(list[i]);
  return fromData<DType>(dtype, out, shape);
}

/** Fields of a TensorProto but its data. */
export function tensorHead(head: {
  name: string;
  dtype: DType;
  shape: readonly number[];
  docString?: string;
  unknown?: Uint8Array;
}): EncodedField[] {
  return [
    ...head.shape.map((size) => intField(1, size)),
    intField(2, onnxOfDtype(head.dtype)),
    ...optionalText(8, head.name),
    ...(head.docString === undefined ? [] : optionalText(12, head.docString)),
    ...unknownFields(head.unknown),
  ];
}

/** Fields of a tensor's data inside the file. */
export function tensorData(tensor: Tensor): EncodedField[] {
  if (tensor.dtype !== "string") return [bytesField(9, bytesOfTensor(tensor))];
  const encoder = new TextEncoder();
  return (tensor.data as string[]).map((value) => bytesField(6, encoder.encode(value)));
}

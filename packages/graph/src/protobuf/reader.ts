import { LoomweightError } from "@loomweight/tensor";

/** A place in the bytes of a protobuf message. */
export interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  /** What is read, for messages: "model.onnx". */
  readonly file: string;
}

export const varintType = 0;
export const fixed64Type = 1;
export const lengthType = 2;
export const fixed32Type = 5;

export function malformed(file: string, problem: string, details: { expected?: string; found?: string } = {}) {
  return new LoomweightError({
    code: "INVALID_ONNX",
    problem,
    file,
    ...details,
    fix: "The file is damaged or is no ONNX model.",
  });
}

export function cursorOf(bytes: Uint8Array, file: string): Cursor {
  return { bytes, at: 0, end: bytes.length, file };
}

/** A varint as low and high 32 bits; at most ten bytes. */
function readHalves(cursor: Cursor): [low: number, high: number] {
  let low = 0;
  let high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (cursor.at >= cursor.end) throw malformed(cursor.file, "a number is cut off");
    const byte = cursor.bytes[cursor.at++];
    const bits = byte & 0x7f;
    if (shift < 28) low |= bits << shift;
    else if (shift === 28) {
      low |= bits << 28;
      high |= bits >>> 4;
    } else high |= shift < 63 ? bits << (shift - 32) : (bits & 1) << 31;
    if (byte < 0x80) return [low >>> 0, high >>> 0];
  }
  throw malformed(cursor.file, "a number has more than ten bytes");
}

/** An unsigned varint up to 2^53; throws `INVALID_ONNX` when it is larger. */
export function readUnsigned(cursor: Cursor): number {
  const [low, high] = readHalves(cursor);
  const value = high * 2 ** 32 + low;
  if (!Number.isSafeInteger(value)) throw malformed(cursor.file, "a length or count is absurdly large");
  return value;
}

/** A signed 64-bit varint (int64, not zigzag). */
export function readInt64(cursor: Cursor): bigint {
  const [low, high] = readHalves(cursor);
  return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
}

/** A signed varint as a number; throws `INVALID_ONNX` when it is beyond 2^53. */
export function readInteger(cursor: Cursor): number {
  const [low, high] = readHalves(cursor);
  const value = (high | 0) * 2 ** 32 + low;
  if (!Number.isSafeInteger(value)) throw malformed(cursor.file, "a number is absurdly large");
  return value;
}

export interface Field {
  readonly number: number;
  readonly type: number;
  /** Where its tag begins. */
  readonly start: number;
}

/** The next field's tag; undefined at the end of the message. */
export function readTag(cursor: Cursor): Field | undefined {
  if (cursor.at >= cursor.end) return undefined;
  const start = cursor.at;
  const tag = readUnsigned(cursor);
  const number = Math.floor(tag / 8);
  const type = tag % 8;
  if (number < 1 || number > 2 ** 29 - 1) throw malformed(cursor.file, `there is no protobuf field ${number}`);
  return { number, type, start };
}

/** Length of a length-delimited field, checked to lie inside the message. */
export function readLength(cursor: Cursor): number {
  const length = readUnsigned(cursor);
  if (length > cursor.end - cursor.at) {
    throw malformed(cursor.file, "a field claims more bytes than its message has", {
      expected: `at most ${cursor.end - cursor.at}`,
      found: `${length}`,
    });
  }
  return length;
}

/** The bytes of a length-delimited field, as a view. */
export function readBytes(cursor: Cursor): Uint8Array {
  const length = readLength(cursor);
  cursor.at += length;
  return cursor.bytes.subarray(cursor.at - length, cursor.at);
}

const decoder = new TextDecoder("utf-8");

export function readText(cursor: Cursor): string {
  return decoder.decode(readBytes(cursor));
}

/** A cursor over a nested message. */
export function readMessage(cursor: Cursor): Cursor {
  const length = readLength(cursor);
  const start = cursor.at;
  cursor.at += length;
  return { bytes: cursor.bytes, at: start, end: start + length, file: cursor.file };
}

export function readFloat(cursor: Cursor): number {
  return dataView(cursor, 4).getFloat32(0, true);
}

export function readDouble(cursor: Cursor): number {
  return dataView(cursor, 8).getFloat64(0, true);
}

function dataView(cursor: Cursor, length: number): DataView {
  if (cursor.end - cursor.at < length) throw malformed(cursor.file, "a number is cut off");
  cursor.at += length;
  return new DataView(cursor.bytes.buffer, cursor.bytes.byteOffset + cursor.at - length, length);
}

/** Skips the value of a field. */
export function skip(cursor: Cursor, field: Field): void {
  if (field.type === varintType) readHalves(cursor);
  else if (field.type === lengthType) readBytes(cursor);
  else if (field.type === fixed64Type) dataView(cursor, 8);
  else if (field.type === fixed32Type) dataView(cursor, 4);
  else throw malformed(cursor.file, `wire type ${field.type} does not exist in ONNX files`);
}

/** Throws `INVALID_ONNX` unless the field has the wire type its number calls for. */
export function expectType(cursor: Cursor, field: Field, type: number): void {
  if (field.type === type) return;
  throw malformed(cursor.file, `protobuf field ${field.number} has the wrong wire type`, {
    expected: `${type}`,
    found: `${field.type}`,
  });
}

/** Reads a repeated number, packed or not. */
export function readRepeated<T>(
  cursor: Cursor,
  field: Field,
  type: number,
  read: (cursor: Cursor) => T,
  into: T[],
): void {
  if (field.type === lengthType) {
    const inner = readMessage(cursor);
    while (inner.at < inner.end) into.push(read(inner));
    return;
  }
  expectType(cursor, field, type);
  into.push(read(cursor));
}

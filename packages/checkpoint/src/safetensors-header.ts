import { type DType, dtypeFacts, LoomweightError, unknownName } from "@loomweight/tensor";
import type { TensorInfo } from "./checkpoint.ts";
import {
  closeBrace,
  closeBracket,
  colon,
  endOfList,
  expectByte,
  type JsonCursor,
  jsonCursor,
  openBrace,
  openBracket,
  quote,
  type StringSpan,
  scanNumber,
  scanString,
  skipSpace,
  skipValue,
  spanIs,
  spanText,
  syntaxError,
} from "./json-scanner.ts";
import { safetensorsDTypes } from "./safetensors-dtypes.ts";

/** Largest header the format allows, in bytes. */
export const maxHeaderBytes = 100_000_000;
/** Most axes a tensor may have; no tensor library computes with more. */
export const maxRank = 64;
const maxIgnoredDepth = 32;

/** What the header of one safetensors file says. */
export interface SafetensorsHeader {
  /** By name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__`; empty where there is none. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** What reading one entry needs for a moment: one object serves all entries, so that big headers leave no litter. */
interface Scratch {
  readonly span: StringSpan;
  readonly sizes: number[];
  /** Place in `safetensorsDTypes` of the dtype read last: most often the next one's too. */
  dtype: number;
}

/**
 * Length of the JSON header that the first 8 bytes announce. Throws `TRUNCATED_FILE` (less than 8 bytes, or a header
 * that does not fit into the file) and `INVALID_HEADER` (more than 100 MB).
 */
export function readHeaderLength(firstBytes: Uint8Array, fileSize: number, file: string): number {
  if (fileSize < 8 || firstBytes.length < 8) {
    throw new LoomweightError({
      code: "TRUNCATED_FILE",
      file,
      problem: "too short for a safetensors file",
      expected: "at least 8 bytes",
      found: `${fileSize}`,
    });
  }
  const view = new DataView(firstBytes.buffer, firstBytes.byteOffset, 8);
  const length = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
  if (length > maxHeaderBytes) {
    throw new LoomweightError({
      code: "INVALID_HEADER",
      file,
      problem: "the first 8 bytes announce a header larger than the format allows",
      expected: `at most ${maxHeaderBytes} bytes`,
      found: `${length}`,
      fix: "Check that this is a safetensors file.",
    });
  }
  if (length > fileSize - 8) {
    throw new LoomweightError({
      code: "TRUNCATED_FILE",
      file,
      problem: "the file ends inside its header",
      expected: `${length + 8} bytes at least`,
      found: `${fileSize}`,
      fix: "Download or copy it again.",
    });
  }
  return length;
}

/**
 * Reads a safetensors header strictly: whatever the reference reader refuses is refused here, and so are duplicate
 * keys inside `__metadata__`, padding other than spaces, `__metadata__: null` and shapes beyond 2^53 − 1. Unknown
 * fields of a tensor are ignored, as the reference reader does.
 *
 * `header` = the JSON bytes after the 8-byte length. Throws `INVALID_HEADER`, `DUPLICATE_KEY`, `UNKNOWN_DTYPE`,
 * `INVALID_SHAPE`, `INVALID_OFFSETS`, `SIZE_MISMATCH`, `INVALID_METADATA`, `TRUNCATED_FILE`.
 * Source: the format's description and reader, github.com/huggingface/safetensors.
 */
export function parseSafetensorsHeader(header: Uint8Array, fileSize: number, file: string): SafetensorsHeader {
  const cursor = jsonCursor(header, file, "INVALID_HEADER");
  if (header[0] !== openBrace) throw syntaxError(cursor, '"{" as the first byte of the header', 0);
  cursor.position = 1;
  const span: StringSpan = { start: 0, end: 0, escaped: false, ascii: true };
  const scratch: Scratch = { span, sizes: new Array<number>(maxRank).fill(0), dtype: 0 };
  const dataStart = 8 + header.length;
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> | undefined;
  if (skipSpace(cursor) === closeBrace) cursor.position++;
  else {
    do {
      scanString(cursor, span);
      const name = spanText(cursor, span);
      expectByte(cursor, colon);
      if (name === "__metadata__") {
        if (metadata !== undefined) throw duplicateKey(file, name);
        metadata = readMetadata(cursor, span);
      } else {
        if (tensors.has(name)) throw duplicateKey(file, name);
        tensors.set(name, readEntry(cursor, scratch, name, dataStart));
      }
    } while (!endOfList(cursor, closeBrace));
  }
  for (let at = cursor.position; at < header.length; at++) {
    if (header[at] !== 0x20) throw syntaxError(cursor, "only spaces (0x20) after the header's closing brace", at);
  }
  const inOrder = sortByPosition(tensors);
  checkLayout(inOrder, dataStart, fileSize, file);
  return { tensors: inOrder, metadata: metadata ?? {} };
}

function readMetadata(cursor: JsonCursor, span: StringSpan): Record<string, string> {
  const { file } = cursor;
  const invalid = (found: string, expected: string) =>
    new LoomweightError({
      code: "INVALID_METADATA",
      file,
      problem: "__metadata__ is not a map of text",
      expected,
      found,
    });
  if (skipSpace(cursor) !== openBrace) throw invalid(startOfValue(cursor), "an object of strings");
  cursor.position++;
  const entries = new Map<string, string>();
  if (skipSpace(cursor) === closeBrace) {
    cursor.position++;
    return {};
  }
  do {
    scanString(cursor, span);
    const key = spanText(cursor, span);
    if (entries.has(key)) throw duplicateKey(file, `__metadata__.${key}`);
    expectByte(cursor, colon);
    if (skipSpace(cursor) !== quote) throw invalid(startOfValue(cursor), `a string for ${JSON.stringify(key)}`);
    scanString(cursor, span);
    entries.set(key, spanText(cursor, span));
  } while (!endOfList(cursor, closeBrace));
  return Object.fromEntries(entries);
}

function readEntry(cursor: JsonCursor, scratch: Scratch, name: string, dataStart: number): TensorInfo {
  const { file } = cursor;
  const { span, sizes } = scratch;
  const tensor = name.length > 200 ? `${name.slice(0, 200)}…` : name; // for messages
  if (skipSpace(cursor) !== openBrace) {
    throw invalidEntry(file, tensor, 'an object with "dtype", "shape" and "data_offsets"', startOfValue(cursor));
  }
  cursor.position++;
  let dtype: DType | undefined;
  let shape: number[] | undefined;
  let begin = -1;
  let end = -1;
  let ignored: Set<string> | undefined;
  if (skipSpace(cursor) === closeBrace) cursor.position++;
  else {
    do {
      scanString(cursor, span);
      if (spanIs(cursor, span, "dtype")) {
        if (dtype !== undefined) throw duplicateKey(file, "dtype", tensor);
        expectByte(cursor, colon);
        dtype = readDType(cursor, scratch, tensor);
      } else if (spanIs(cursor, span, "shape")) {
        if (shape !== undefined) throw duplicateKey(file, "shape", tensor);
        expectByte(cursor, colon);
        shape = sizes.slice(0, readSizesInto(sizes, cursor, tensor, "INVALID_SHAPE", "shape", maxRank));
      } else if (spanIs(cursor, span, "data_offsets")) {
        if (begin !== -1) throw duplicateKey(file, "data_offsets", tensor);
        expectByte(cursor, colon);
        const count = readSizesInto(sizes, cursor, tensor, "INVALID_OFFSETS", "data_offsets", 2);
        if (count !== 2) throw invalidOffsets(file, tensor, "two numbers", `${count}`);
        begin = sizes[0];
        end = sizes[1];
      } else {
        const field = spanText(cursor, span);
        ignored ??= new Set();
        if (ignored.has(field)) throw duplicateKey(file, field, tensor);
        ignored.add(field);
        expectByte(cursor, colon);
        skipValue(cursor, maxIgnoredDepth, span);
      }
    } while (!endOfList(cursor, closeBrace));
  }
  if (dtype === undefined) throw invalidEntry(file, tensor, 'a field "dtype"', "none");
  if (shape === undefined) throw invalidEntry(file, tensor, 'a field "shape"', "none");
  if (begin === -1) throw invalidEntry(file, tensor, 'a field "data_offsets"', "none");
  if (end < begin) throw invalidOffsets(file, tensor, "begin <= end", `[${begin}, ${end}]`);
  checkBytes(file, tensor, dtype, shape, end - begin);
  return { name, dtype, shape, byteLength: end - begin, file, byteOffset: dataStart + begin };
}

function readDType(cursor: JsonCursor, scratch: Scratch, tensor: string): DType {
  const { span } = scratch;
  if (skipSpace(cursor) !== quote) {
    throw new LoomweightError({
      code: "UNKNOWN_DTYPE",
      file: cursor.file,
      tensor,
      problem: "dtype is not text",
      expected: "a string",
      found: startOfValue(cursor),
    });
  }
  scanString(cursor, span);
  // Names are compared as bytes: a big file would decode one a hundred thousand times.
  for (let i = 0; i < safetensorsDTypes.length; i++) {
    const at = (scratch.dtype + i) % safetensorsDTypes.length;
    if (!spanIs(cursor, span, safetensorsDTypes[at][0])) continue;
    scratch.dtype = at;
    return safetensorsDTypes[at][1];
  }
  const name = spanText(cursor, span).slice(0, 80);
  const known = safetensorsDTypes.map(([each]) => each);
  const { problem, fix } = unknownName({ kind: "dtype", name, known }).details;
  throw new LoomweightError({
    code: "UNKNOWN_DTYPE",
    file: cursor.file,
    tensor,
    problem,
    expected: `one of ${known.join(", ")}`,
    found: JSON.stringify(name),
    fix,
  });
}

/** Reads `[1, 2, …]`, non-negative safe integers, `most` of them at most; how many there were. */
function readSizesInto(
  values: number[],
  cursor: JsonCursor,
  tensor: string,
  code: string,
  field: string,
  most: number,
): number {
  let count = 0;
  if (skipSpace(cursor) !== openBracket) throw invalidSizes(cursor, tensor, code, field, "an array of whole numbers");
  cursor.position++;
  if (skipSpace(cursor) === closeBracket) {
    cursor.position++;
    return 0;
  }
  do {
    const first = skipSpace(cursor);
    if (count === most) throw invalidSizes(cursor, tensor, code, field, `at most ${most} numbers`, "more");
    if (first !== 0x2d && (first < 0x30 || first > 0x39)) {
      throw invalidSizes(cursor, tensor, code, field, "non-negative whole numbers");
    }
    const number = readInteger(cursor);
    if (typeof number === "string") {
      throw invalidSizes(cursor, tensor, code, field, `whole numbers from 0 to ${Number.MAX_SAFE_INTEGER}`, number);
    }
    values[count++] = number;
  } while (!endOfList(cursor, closeBracket));
  return count;
}

function invalidSizes(
  cursor: JsonCursor,
  tensor: string,
  code: string,
  field: string,
  expected: string,
  found = startOfValue(cursor),
): LoomweightError {
  return new LoomweightError({ code, file: cursor.file, tensor, problem: `invalid ${field}`, expected, found });
}

/** A plain integer of at most 15 digits at once; any other number as its text where it is not a safe integer. */
function readInteger(cursor: JsonCursor): number | string {
  const { bytes } = cursor;
  const start = cursor.position;
  let at = start;
  let value = 0;
  while (at < cursor.end && bytes[at] >= 0x30 && bytes[at] <= 0x39 && at - start < 15)
    value = value * 10 + bytes[at++] - 0x30;
  const next = at < cursor.end ? bytes[at] : -1;
  const plain = at > start && next !== 0x2e && next !== 0x65 && next !== 0x45 && !(next >= 0x30 && next <= 0x39);
  if (plain && (bytes[start] !== 0x30 || at === start + 1)) {
    cursor.position = at;
    return value;
  }
  const text = scanNumber(cursor);
  return /^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : text.slice(0, 40);
}

function checkBytes(file: string, tensor: string, dtype: DType, shape: readonly number[], found: number): void {
  const { bits } = dtypeFacts[dtype];
  let elements = 1;
  let empty = false;
  for (const size of shape) {
    if (size === 0) empty = true;
    else elements *= size;
    if (elements * bits > Number.MAX_SAFE_INTEGER) {
      throw new LoomweightError({
        code: "INVALID_SHAPE",
        file,
        tensor,
        problem: "the shape overflows",
        expected: `at most ${Number.MAX_SAFE_INTEGER} bits`,
        found: `[${shape.join(", ")}] of ${dtype}`,
      });
    }
  }
  const total = empty ? 0 : elements * bits;
  if (total % 8 !== 0) {
    throw new LoomweightError({
      code: "INVALID_SHAPE",
      file,
      tensor,
      problem: `${bits}-bit elements do not fill whole bytes`,
      expected: "a multiple of 8 bits",
      found: `[${shape.join(", ")}] = ${total} bits`,
    });
  }
  if (found !== total / 8) {
    throw new LoomweightError({
      code: "SIZE_MISMATCH",
      file,
      tensor,
      problem: "data_offsets do not hold what dtype and shape say",
      expected: `${total / 8} bytes for ${dtype} [${shape.join(", ")}]`,
      found: `${found}`,
    });
  }
}

/** The same map where it is in order already, as nearly every file is; empty tensors stay in the header's order. */
function sortByPosition(tensors: Map<string, TensorInfo>): Map<string, TensorInfo> {
  let position = 0;
  let sorted = true;
  for (const { byteOffset, byteLength } of tensors.values()) {
    if (byteOffset < position) sorted = false;
    position = byteOffset + byteLength;
  }
  if (sorted) return tensors;
  const entries = [...tensors].sort(([, a], [, b]) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  return new Map(entries);
}

/** Checks that the data of the sorted tensors fills the file's buffer: no gap, no overlap, nothing left. */
function checkLayout(
  tensors: ReadonlyMap<string, TensorInfo>,
  dataStart: number,
  fileSize: number,
  file: string,
): void {
  const dataSize = fileSize - dataStart;
  let position = 0;
  let previous: TensorInfo | undefined;
  for (const info of tensors.values()) {
    const begin = info.byteOffset - dataStart;
    if (begin !== position) {
      const after =
        previous === undefined ? "the beginning of the data" : `the end of "${previous.name.slice(0, 200)}"`;
      const kind = begin > position ? "leaves a gap" : "overlaps another tensor";
      const expected = `data at ${position}, ${after}`;
      throw invalidOffsets(file, info.name.slice(0, 200), expected, `${begin}`, `tensor data ${kind}`);
    }
    position = begin + info.byteLength;
    previous = info;
  }
  if (position > dataSize) {
    const cut = [...tensors.values()].find(({ byteOffset, byteLength }) => byteOffset + byteLength > fileSize);
    throw new LoomweightError({
      code: "TRUNCATED_FILE",
      file,
      tensor: cut?.name.slice(0, 200),
      problem: "the file ends before the tensor's data",
      expected: `${position} bytes of data`,
      found: `${dataSize}`,
      fix: "Download or copy it again.",
    });
  }
  if (position < dataSize) {
    throw new LoomweightError({
      code: "INVALID_OFFSETS",
      file,
      problem: "the file holds bytes that belong to no tensor",
      expected: `${position} bytes of data`,
      found: `${dataSize}`,
    });
  }
}

function startOfValue(cursor: JsonCursor): string {
  if (cursor.position >= cursor.end) return "the end of the header";
  const end = Math.min(cursor.end, cursor.position + 24);
  return new TextDecoder().decode(cursor.bytes.subarray(cursor.position, end));
}

function duplicateKey(file: string, key: string, tensor?: string): LoomweightError {
  return new LoomweightError({
    code: "DUPLICATE_KEY",
    file,
    tensor,
    problem: `the key ${JSON.stringify(key.slice(0, 200))} occurs twice in the header`,
    expected: "every key once",
  });
}

function invalidEntry(file: string, tensor: string, expected: string, found: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_HEADER",
    file,
    tensor,
    problem: "not a tensor's description",
    expected,
    found,
  });
}

function invalidOffsets(
  file: string,
  tensor: string,
  expected: string,
  found: string,
  problem = "invalid data_offsets",
): LoomweightError {
  return new LoomweightError({ code: "INVALID_OFFSETS", file, tensor, problem, expected, found });
}

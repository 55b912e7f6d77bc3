import { LoomweightError } from "@loomweight/tensor";
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
  scanWord,
  skipSpace,
  spanText,
  syntaxError,
} from "./json-scanner.ts";

/** Any JSON value. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

export interface ParseJsonOptions {
  /** Levels of arrays and objects; default 64. */
  readonly maxDepth?: number;
  /** What an object does with a name that occurs twice; default `"refuse"` (Python and JavaScript take the last). */
  readonly duplicates?: "refuse" | "last";
}

/**
 * Parses UTF-8 JSON from a file that is not trusted. Beyond JSON.parse: bounded depth, byte positions in messages,
 * duplicate names refused, and the words `NaN`, `Infinity`, `-Infinity` that Python writes (a configuration's
 * `"time_step_limit": [0.0, Infinity]`) are read as the numbers they are. Throws `INVALID_JSON`.
 */
export function parseJson(bytes: Uint8Array, file: string, options: ParseJsonOptions = {}): JsonValue {
  const cursor = jsonCursor(bytes, file);
  // A byte order mark is no JSON, yet editors on Windows write it.
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) cursor.position = 3;
  const span: StringSpan = { start: 0, end: 0, escaped: false, ascii: true };
  const value = parseValue(cursor, options.maxDepth ?? 64, options.duplicates ?? "refuse", span);
  if (skipSpace(cursor) !== -1) throw syntaxError(cursor, "nothing after the value");
  return value;
}

/** `parseJson` for files that hold one object. */
export function parseJsonObject(
  bytes: Uint8Array,
  file: string,
  options: ParseJsonOptions = {},
): Readonly<Record<string, JsonValue>> {
  const value = parseJson(bytes, file, options);
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    const found = value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
    throw new LoomweightError({
      code: "INVALID_JSON",
      file,
      problem: "not a JSON object",
      expected: "an object",
      found,
    });
  }
  return value as Readonly<Record<string, JsonValue>>;
}

function parseValue(cursor: JsonCursor, depth: number, duplicates: "refuse" | "last", span: StringSpan): JsonValue {
  const byte = skipSpace(cursor);
  if (byte === quote) {
    scanString(cursor, span);
    return spanText(cursor, span);
  }
  if (byte === openBrace || byte === openBracket) {
    if (depth === 0) throw syntaxError(cursor, "less deeply nested values");
    cursor.position++;
    return byte === openBrace
      ? parseObject(cursor, depth - 1, duplicates, span)
      : parseArray(cursor, depth - 1, duplicates, span);
  }
  if (scanWord(cursor, "true")) return true;
  if (scanWord(cursor, "false")) return false;
  if (scanWord(cursor, "null")) return null;
  if (scanWord(cursor, "NaN")) return Number.NaN;
  if (scanWord(cursor, "Infinity")) return Number.POSITIVE_INFINITY;
  if (scanWord(cursor, "-Infinity")) return Number.NEGATIVE_INFINITY;
  if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) return Number(scanNumber(cursor));
  throw syntaxError(cursor, "a value");
}

function parseArray(cursor: JsonCursor, depth: number, duplicates: "refuse" | "last", span: StringSpan): JsonValue[] {
  const values: JsonValue[] = [];
  if (skipSpace(cursor) === closeBracket) {
    cursor.position++;
    return values;
  }
  do values.push(parseValue(cursor, depth, duplicates, span));
  while (!endOfList(cursor, closeBracket));
  return values;
}

function parseObject(
  cursor: JsonCursor,
  depth: number,
  duplicates: "refuse" | "last",
  span: StringSpan,
): Record<string, JsonValue> {
  const entries = new Map<string, JsonValue>();
  if (skipSpace(cursor) === closeBrace) {
    cursor.position++;
    return {};
  }
  do {
    scanString(cursor, span);
    const at = span.start;
    const name = spanText(cursor, span);
    if (duplicates === "refuse" && entries.has(name)) {
      throw new LoomweightError({
        code: "DUPLICATE_KEY",
        file: cursor.file,
        problem: `the name ${JSON.stringify(name)} occurs twice in one object (again at byte ${at})`,
        fix: "Keep one of the two.",
      });
    }
    expectByte(cursor, colon);
    entries.set(name, parseValue(cursor, depth, duplicates, span));
  } while (!endOfList(cursor, closeBrace));
  return Object.fromEntries(entries); // defines "__proto__" as a plain property
}

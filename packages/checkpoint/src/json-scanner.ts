import { LoomweightError } from "@loomweight/tensor";

/**
 * A place in the UTF-8 bytes of a JSON text. Scanning works on bytes, so that nothing is allocated for what is skipped
 * and every fault is told with its byte position.
 */
export interface JsonCursor {
  readonly bytes: Uint8Array;
  position: number;
  /** One past the last byte of the text. */
  readonly end: number;
  /** Name of the file, for messages. */
  readonly file: string;
  /** Error code of a syntax fault. */
  readonly code: string;
}

export const quote = 0x22;
export const comma = 0x2c;
export const colon = 0x3a;
export const openBrace = 0x7b;
export const closeBrace = 0x7d;
export const openBracket = 0x5b;
export const closeBracket = 0x5d;

/** A cursor at the beginning of `bytes`; syntax faults get `code` (default `INVALID_JSON`). */
export function jsonCursor(bytes: Uint8Array, file: string, code = "INVALID_JSON"): JsonCursor {
  return { bytes, position: 0, end: bytes.length, file, code };
}

/** A syntax fault at byte `at` of the text. */
export function syntaxError(cursor: JsonCursor, expected: string, at = cursor.position): LoomweightError {
  return new LoomweightError({
    code: cursor.code,
    file: cursor.file,
    problem: `invalid JSON at byte ${at}`,
    expected,
    found: at >= cursor.end ? "the end of the text" : describeByte(cursor.bytes[at]),
  });
}

function describeByte(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? `"${String.fromCharCode(byte)}"` : `byte 0x${byte.toString(16).padStart(2, "0")}`;
}

/** Moves past spaces, tabs and line ends; the byte there, or -1 at the end. */
export function skipSpace(cursor: JsonCursor): number {
  const { bytes, end } = cursor;
  let at = cursor.position;
  while (at < end) {
    const byte = bytes[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) {
      cursor.position = at;
      return byte;
    }
    at++;
  }
  cursor.position = at;
  return -1;
}

/** Moves past `byte`, which must come next (after white space). */
export function expectByte(cursor: JsonCursor, byte: number): void {
  if (skipSpace(cursor) !== byte) throw syntaxError(cursor, describeByte(byte));
  cursor.position++;
}

/** The bytes between the quotes of a string, not decoded yet. */
export interface StringSpan {
  start: number;
  end: number;
  escaped: boolean;
  ascii: boolean;
}

/** Moves past the string that must come next and fills `span`: one object serves many strings. */
export function scanString(cursor: JsonCursor, span: StringSpan): void {
  if (skipSpace(cursor) !== quote) throw syntaxError(cursor, "a string");
  const { bytes, end } = cursor;
  let at = cursor.position + 1;
  span.start = at;
  span.escaped = false;
  span.ascii = true;
  for (; at < end; at++) {
    const byte = bytes[at];
    if (byte === quote) {
      span.end = at;
      cursor.position = at + 1;
      return;
    }
    if (byte === 0x5c) {
      span.escaped = true;
      at++;
    } else if (byte < 0x20) throw syntaxError(cursor, "no control character in a string", at);
    else if (byte >= 0x80) span.ascii = false;
  }
  throw syntaxError(cursor, 'a closing "', end);
}

/** Whether an unescaped span holds exactly the ASCII text `text`. */
export function spanIs(cursor: JsonCursor, span: StringSpan, text: string): boolean {
  if (span.escaped) return spanText(cursor, span) === text;
  if (span.end - span.start !== text.length) return false;
  for (let i = 0; i < text.length; i++) {
    if (cursor.bytes[span.start + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

const utf8 = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of a span: UTF-8 and escapes are checked, lone surrogates refused. */
export function spanText(cursor: JsonCursor, span: StringSpan): string {
  if (!span.escaped) return decodeUtf8(cursor, span.start, span.end);
  let text = "";
  let from = span.start;
  for (let at = span.start; at < span.end; at++) {
    if (cursor.bytes[at] !== 0x5c) continue;
    text += decodeUtf8(cursor, from, at);
    const kind = String.fromCharCode(cursor.bytes[at + 1]);
    if (kind === "u") {
      text += String.fromCharCode(hexUnit(cursor, at + 2, span.end));
      at += 5;
    } else {
      const character = escapes[kind];
      if (character === undefined) throw syntaxError(cursor, "a JSON escape", at + 1);
      text += character;
      at++;
    }
    from = at + 1;
  }
  text += decodeUtf8(cursor, from, span.end);
  if (/\p{Surrogate}/u.test(text)) throw syntaxError(cursor, "surrogate escapes in pairs", span.start);
  return text;
}

const escapes: Readonly<Record<string, string | undefined>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

function hexUnit(cursor: JsonCursor, at: number, end: number): number {
  let unit = 0;
  for (let i = 0; i < 4; i++) {
    const digit = at + i < end ? Number.parseInt(String.fromCharCode(cursor.bytes[at + i]), 16) : Number.NaN;
    if (Number.isNaN(digit)) throw syntaxError(cursor, "four hexadecimal digits", at + i);
    unit = unit * 16 + digit;
  }
  return unit;
}

function decodeUtf8(cursor: JsonCursor, start: number, end: number): string {
  if (start === end) return "";
  try {
    return utf8.decode(cursor.bytes.subarray(start, end));
  } catch {
    throw new LoomweightError({
      code: cursor.code,
      file: cursor.file,
      problem: `text is not UTF-8 between bytes ${start} and ${end}`,
      expected: "UTF-8",
    });
  }
}

/** Moves past a number of JSON's grammar; its text. */
export function scanNumber(cursor: JsonCursor): string {
  const { bytes, end } = cursor;
  const start = cursor.position;
  let at = start;
  if (bytes[at] === 0x2d) at++;
  if (at < end && bytes[at] === 0x30) at++;
  else at = skipDigits(cursor, at);
  if (at < end && bytes[at] === 0x2e) at = skipDigits(cursor, at + 1);
  if (at < end && (bytes[at] === 0x65 || bytes[at] === 0x45)) {
    const signed = at + 1 < end && (bytes[at + 1] === 0x2b || bytes[at + 1] === 0x2d);
    at = skipDigits(cursor, at + (signed ? 2 : 1));
  }
  cursor.position = at;
  let text = "";
  for (let i = start; i < at; i++) text += String.fromCharCode(bytes[i]);
  return text;
}

function skipDigits(cursor: JsonCursor, from: number): number {
  let at = from;
  while (at < cursor.end && cursor.bytes[at] >= 0x30 && cursor.bytes[at] <= 0x39) at++;
  if (at === from) throw syntaxError(cursor, "a digit", at);
  return at;
}

/** Moves past one of the words `true`, `false`, `null`, … when it comes next. */
export function scanWord(cursor: JsonCursor, word: string): boolean {
  for (let i = 0; i < word.length; i++) {
    if (cursor.position + i >= cursor.end || cursor.bytes[cursor.position + i] !== word.charCodeAt(i)) return false;
  }
  cursor.position += word.length;
  return true;
}

/** Moves past any value without building it; `depth` levels of arrays and objects at most. */
export function skipValue(cursor: JsonCursor, depth: number, span: StringSpan): void {
  const byte = skipSpace(cursor);
  if (byte === quote) {
    scanString(cursor, span);
    if (span.escaped || !span.ascii) spanText(cursor, span);
  } else if (byte === openBrace || byte === openBracket) {
    if (depth === 0) throw syntaxError(cursor, "less deeply nested values");
    const close = byte === openBrace ? closeBrace : closeBracket;
    cursor.position++;
    if (skipSpace(cursor) === close) {
      cursor.position++;
      return;
    }
    for (;;) {
      if (close === closeBrace) {
        scanString(cursor, span);
        if (span.escaped || !span.ascii) spanText(cursor, span);
        expectByte(cursor, colon);
      }
      skipValue(cursor, depth - 1, span);
      if (endOfList(cursor, close)) return;
    }
  } else if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) scanNumber(cursor);
  else if (!scanWord(cursor, "true") && !scanWord(cursor, "false") && !scanWord(cursor, "null")) {
    throw syntaxError(cursor, "a value");
  }
}

/** After an element: moves past `close` (true) or a comma (false). */
export function endOfList(cursor: JsonCursor, close: number): boolean {
  const byte = skipSpace(cursor);
  if (byte !== close && byte !== comma) throw syntaxError(cursor, `"," or ${describeByte(close)}`);
  cursor.position++;
  return byte === close;
}

/** Part of an encoded message: bytes, or a place that is filled while writing. */
export type Piece = Uint8Array | LazyPiece;

export interface LazyPiece {
  readonly byteLength: number;
  readonly read: () => AsyncIterable<Uint8Array>;
  /** Pieces of one object are cheapest to read one after another. */
  readonly together?: object;
}

/** An encoded message whose large parts are not there yet. */
export interface Message {
  readonly pieces: readonly Piece[];
  readonly byteLength: number;
}

/** A field of a message, encoded with its tag. */
export interface EncodedField extends Message {
  readonly number: number;
}

export function varint(value: number | bigint): number[] {
  if (typeof value === "number" && value >= 0 && value < 0x80) return [value];
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

const tag = (number: number, type: number): number[] => varint(number * 8 + type);

function encoded(number: number, bytes: Uint8Array | number[]): EncodedField {
  const piece = bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes);
  return { number, pieces: [piece], byteLength: piece.length };
}

export const intField = (number: number, value: number | bigint): EncodedField =>
  encoded(number, [...tag(number, 0), ...varint(value)]);

export function floatField(number: number, value: number): EncodedField {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return encoded(number, [...tag(number, 5), ...bytes]);
}

export function bytesField(number: number, value: Uint8Array): EncodedField {
  const head = [...tag(number, 2), ...varint(value.length)];
  const bytes = new Uint8Array(head.length + value.length);
  bytes.set(head);
  bytes.set(value, head.length);
  return encoded(number, bytes);
}

const encoder = new TextEncoder();

export const textField = (number: number, value: string): EncodedField => bytesField(number, encoder.encode(value));

/** Nothing for an empty text, as proto2 writers leave it out. */
export const optionalText = (number: number, value: string | undefined): EncodedField[] =>
  value === undefined || value === "" ? [] : [textField(number, value)];

export function messageField(number: number, { pieces, byteLength }: Message): EncodedField {
  const head = Uint8Array.from([...tag(number, 2), ...varint(byteLength)]);
  return { number, pieces: [head, ...pieces], byteLength: head.length + byteLength };
}

/** The bytes of a piece that is filled while writing, as a length-delimited field. */
export const lazyField = (number: number, piece: LazyPiece): EncodedField =>
  messageField(number, { pieces: [piece], byteLength: piece.byteLength });

/** A message of these fields in the order of their numbers, as the reference writers put them. */
export function message(fields: readonly EncodedField[]): Message {
  const sorted = fields.map((field, index) => ({ field, index }));
  sorted.sort((a, b) => a.field.number - b.field.number || a.index - b.index);
  let byteLength = 0;
  const pieces: Piece[] = [];
  let run: Uint8Array[] = [];
  let runLength = 0;
  const flush = () => {
    if (run.length > 0) pieces.push(run.length === 1 ? run[0] : joined(run, runLength));
    run = [];
    runLength = 0;
  };
  for (const { field } of sorted) {
    byteLength += field.byteLength;
    for (const piece of field.pieces) {
      if (piece instanceof Uint8Array) {
        run.push(piece);
        runLength += piece.length;
      } else {
        flush();
        pieces.push(piece);
      }
    }
  }
  flush();
  return { pieces, byteLength };
}

export function joined(
  parts: readonly Uint8Array[],
  length = parts.reduce((sum, part) => sum + part.length, 0),
): Uint8Array {
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

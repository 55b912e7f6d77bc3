import { type Cursor, cursorOf, type Field, readTag, skip } from "../protobuf/reader.ts";
import { type EncodedField, joined } from "../protobuf/writer.ts";

/** Collects the fields of a message that have no name here, as they stand in the file. */
export interface UnknownCollector {
  keep(cursor: Cursor, field: Field): void;
  /** undefined when there were none. */
  bytes(): Uint8Array | undefined;
}

export function collectUnknown(): UnknownCollector {
  const parts: Uint8Array[] = [];
  return {
    keep(cursor, field) {
      skip(cursor, field);
      parts.push(cursor.bytes.slice(field.start, cursor.at));
    },
    bytes: () => (parts.length === 0 ? undefined : joined(parts)),
  };
}

/** Kept fields one by one, so that they take their place among the others. */
export function unknownFields(bytes: Uint8Array | undefined): EncodedField[] {
  if (bytes === undefined) return [];
  const cursor = cursorOf(bytes, "unknown fields");
  const fields: EncodedField[] = [];
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    skip(cursor, field);
    const piece = bytes.subarray(field.start, cursor.at);
    fields.push({ number: field.number, pieces: [piece], byteLength: piece.length });
  }
  return fields;
}

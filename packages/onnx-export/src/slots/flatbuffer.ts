import { LoomweightError } from "@loomweight/tensor";

/** A growing little-endian buffer in which offsets point forwards, as FlatBuffers wants them. */
export interface FlatWriter {
  readonly position: () => number;
  /** Zeros until the next position is `remainder` modulo `alignment`. */
  align(alignment: number, remainder?: number): void;
  u16(value: number): void;
  i32(value: number): void;
  i64(value: bigint): void;
  bytes(value: Uint8Array): void;
  /** Space for an offset to something that follows; call the result where it begins. */
  offset(): () => void;
  finish(): Uint8Array;
}

/** A writer into a buffer of exactly `size` bytes. */
export function flatWriter(size: number): FlatWriter {
  const buffer = new Uint8Array(size);
  const view = new DataView(buffer.buffer);
  let at = 0;
  const step = (count: number) => {
    at += count;
    return at - count;
  };
  return {
    position: () => at,
    align(alignment, remainder = 0) {
      at += (((remainder - at) % alignment) + alignment) % alignment;
    },
    u16: (value) => view.setUint16(step(2), value, true),
    i32: (value) => view.setInt32(step(4), value, true),
    i64: (value) => view.setBigInt64(step(8), value, true),
    bytes: (value) => buffer.set(value, step(value.length)),
    offset() {
      const place = step(4);
      return () => view.setUint32(place, at - place, true);
    },
    finish: () => buffer.subarray(0, at),
  };
}

/** A table of a FlatBuffers file: fields by number, everything checked against the file's end. */
export interface FlatTable {
  int32(field: number, missing: number): number;
  text(field: number, limit: number): string;
  int64s(field: number, limit: number): bigint[];
  bytes(field: number): Uint8Array;
  tables(field: number, limit: number): FlatTable[];
}

/** The root table of a FlatBuffers file. Throws `INVALID_FLATBUFFER` for what is not one, and for offsets that leave the file. */
export function readFlatTable(file: Uint8Array, identifier: string, name: string): FlatTable {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const fail = (problem: string, found?: unknown): LoomweightError =>
    new LoomweightError({
      code: "INVALID_FLATBUFFER",
      problem,
      file: name,
      found: found === undefined ? undefined : String(found),
    });
  const inside = (position: number, count: number): number => {
    if (position < 0 || position + count > file.length) throw fail("an offset leaves the file", position);
    return position;
  };
  const u16 = (at: number) => view.getUint16(inside(at, 2), true);
  const u32 = (at: number) => view.getUint32(inside(at, 4), true);
  const i32 = (at: number) => view.getInt32(inside(at, 4), true);
  const vector = (at: number, width: number, limit: number) => {
    const start = at + u32(at);
    const count = u32(start);
    if (count > limit) throw fail(`a list of more than ${limit} entries`, count);
    inside(start + 4, count * width);
    return { start: start + 4, count };
  };
  const table = (position: number): FlatTable => {
    const layout = position - i32(position);
    const size = u16(layout);
    if (size < 4 || size % 2 !== 0) throw fail("a table without a layout", size);
    inside(layout, size);
    const place = (field: number): number | undefined => {
      const at = 4 + 2 * field < size ? u16(layout + 4 + 2 * field) : 0;
      return at === 0 ? undefined : position + at;
    };
    const required = (field: number): number => {
      const at = place(field);
      if (at === undefined) throw fail("a table lacks a field", field);
      return at;
    };
    return {
      int32(field, missing) {
        const at = place(field);
        return at === undefined ? missing : i32(at);
      },
      text(field, limit) {
        const { start, count } = vector(required(field), 1, limit);
        return new TextDecoder().decode(file.subarray(start, start + count));
      },
      int64s(field, limit) {
        const at = place(field);
        if (at === undefined) return [];
        const { start, count } = vector(at, 8, limit);
        return Array.from({ length: count }, (_, i) => view.getBigInt64(start + 8 * i, true));
      },
      bytes(field) {
        const at = place(field);
        if (at === undefined) return new Uint8Array(0);
        const { start, count } = vector(at, 1, file.length);
        return file.subarray(start, start + count);
      },
      tables(field, limit) {
        const at = place(field);
        if (at === undefined) return [];
        const { start, count } = vector(at, 4, limit);
        return Array.from({ length: count }, (_, i) => table(start + 4 * i + u32(start + 4 * i)));
      },
    };
  };
  if (file.length < 12 || new TextDecoder("latin1").decode(file.subarray(4, 8)) !== identifier) {
    throw fail(`this is no file of the kind "${identifier}"`);
  }
  return table(u32(0));
}

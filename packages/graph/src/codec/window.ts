import type { ByteSource } from "@loomweight/checkpoint";
import { malformed } from "../protobuf/reader.ts";

/** Reads a source forwards through a window, so that large stretches can be stepped over. */
export interface SourceWindow {
  readonly at: number;
  /** A varint at the present place (at most 2^53). */
  readVarint(end: number): Promise<number>;
  /** Copies the next `length` bytes. */
  take(length: number): Promise<Uint8Array>;
  /** Steps over `length` bytes without reading them. */
  step(length: number): void;
}

const windowBytes = 2 ** 16;

export function openWindow(source: ByteSource): SourceWindow {
  let at = 0;
  let start = 0;
  let bytes: Uint8Array = new Uint8Array(0);
  const fill = async (needed: number) => {
    if (at >= start && at + needed <= start + bytes.length) return;
    start = at;
    bytes = await source.read(start, Math.min(source.size, start + Math.max(windowBytes, needed)));
  };
  return {
    get at() {
      return at;
    },
    async readVarint(end) {
      const limit = Math.min(end, source.size);
      await fill(Math.min(10, limit - at));
      let value = 0;
      for (let i = 0; i < 10; i++) {
        if (at >= limit) throw malformed(source.name, "a number is cut off");
        const byte = bytes[at - start];
        at++;
        value += (byte & 0x7f) * 2 ** (7 * i);
        if (byte < 0x80) {
          if (!Number.isSafeInteger(value)) break;
          return value;
        }
      }
      throw malformed(source.name, "a length or count is absurdly large");
    },
    async take(length) {
      if (length > windowBytes) {
        const whole = await source.read(at, at + length);
        at += length;
        return whole;
      }
      await fill(length);
      const part = bytes.slice(at - start, at - start + length);
      at += length;
      return part;
    },
    step(length) {
      at += length;
    },
  };
}

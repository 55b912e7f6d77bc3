import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { LoomweightError } from "@loomweight/tensor";
import type { FileLayout, Segment } from "../codec/layout.ts";

/** What one thread computes and writes at a time: the tensors that come of one weight. */
export interface WriteUnit {
  readonly segments: readonly { readonly file: number; readonly segment: Segment }[];
  readonly byteLength: number;
}

/** The segments of all files, those that are computed together in one unit; in the order of their first ones. */
export function unitsOf(files: readonly FileLayout[]): WriteUnit[] {
  const units: { segments: { file: number; segment: Segment }[]; byteLength: number }[] = [];
  const known = new Map<object, (typeof units)[number]>();
  for (const [file, { segments }] of files.entries()) {
    for (const segment of segments) {
      const { together } = segment;
      let unit = together && known.get(together);
      if (unit === undefined) {
        unit = { segments: [], byteLength: 0 };
        units.push(unit);
        if (together) known.set(together, unit);
      }
      unit.segments.push({ file, segment });
      unit.byteLength += segment.byteLength;
    }
  }
  return units;
}

/** Says whether two threads mean the same bytes by the same numbers. */
export function digestOf(files: readonly FileLayout[]): string {
  const hash = createHash("sha256");
  for (const { name, byteLength, known, segments } of files) {
    hash.update(JSON.stringify([name, byteLength, segments.map((each) => [each.offset, each.byteLength])]));
    for (const { bytes } of known) hash.update(bytes);
  }
  return hash.digest("hex");
}

/** Most bytes of one call of the system. */
const mostAtOnce = 2 ** 30;
/** Bytes between the parts of one segment are gathered up to this: the disk likes long writes. */
const gatheredBytes = 2 ** 20;

/** Computes a unit and writes it where it belongs. */
export async function writeUnit(unit: WriteUnit, handles: readonly FileHandle[], name: string): Promise<void> {
  for (const { file, segment } of unit.segments) {
    let at = segment.offset;
    let gathered: Uint8Array | undefined;
    let length = 0;
    const flush = async () => {
      if (gathered !== undefined && length > 0) await writeAt(handles[file], name, gathered.subarray(0, length), at);
      at += length;
      length = 0;
    };
    for await (const bytes of segment.read()) {
      if (length + bytes.length > gatheredBytes) await flush();
      if (bytes.length >= gatheredBytes / 2 || bytes.length === segment.byteLength) {
        await flush();
        await writeAt(handles[file], name, bytes, at);
        at += bytes.length;
        continue;
      }
      gathered ??= new Uint8Array(gatheredBytes);
      gathered.set(bytes, length);
      length += bytes.length;
    }
    await flush();
  }
}

/** Writes all of `bytes` at `position`. Throws `DISK_FULL`, `WRITE_FAILED`. */
export async function writeAt(file: FileHandle, name: string, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, mostAtOnce);
    const { bytesWritten } = await guarded(name, () => file.write(bytes, done, length, position + done));
    done += bytesWritten;
  }
}

/** What `act` gives, its failure as one of writing the file `name`. */
export async function guarded<T>(name: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    const full = (cause as NodeJS.ErrnoException).code === "ENOSPC";
    throw new LoomweightError({
      code: full ? "DISK_FULL" : "WRITE_FAILED",
      problem: full ? "the disk is full" : `writing failed: ${cause instanceof Error ? cause.message : String(cause)}`,
      file: name,
      fix: full ? "Free some space, or write elsewhere." : undefined,
      cause,
    });
  }
}

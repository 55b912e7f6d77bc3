import { LoomweightError } from "@loomweight/tensor";
import type { ByteSource, Checkpoint } from "./checkpoint.ts";
import { recogniseBytes, recogniseFile } from "./file-kind.ts";
import { lazyCheckpoint } from "./lazy-checkpoint.ts";
import {
  maxHeaderBytes,
  parseSafetensorsHeader,
  readHeaderLength,
  type SafetensorsHeader,
} from "./safetensors-header.ts";

/** Read at once when a file is opened: the headers of most files lie in it whole. */
const firstReadBytes = 65536;

/**
 * Reads and checks the header of a safetensors file; no tensor data is read.
 * Throws as `parseSafetensorsHeader`, and `GIT_LFS_POINTER`, `NOT_SAFETENSORS` or `UNSUPPORTED_FORMAT` where the file
 * turns out to be something else.
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const head = await source.read(0, Math.min(source.size, firstReadBytes));
  // A header begins with "{" at byte 8 and a length of at most 100 MB before it; anything else is not safetensors.
  if (head.length < 9 || head[8] !== 0x7b || announcedLength(head) > maxHeaderBytes) {
    const other = recogniseFile(head.subarray(0, recogniseBytes), source.name);
    if (other !== undefined) throw new LoomweightError(other);
  }
  const length = readHeaderLength(head, source.size, source.name);
  const header = 8 + length <= head.length ? head.subarray(8, 8 + length) : await source.read(8, 8 + length);
  return parseSafetensorsHeader(header, source.size, source.name);
}

function announcedLength(head: Uint8Array): number {
  const view = new DataView(head.buffer, head.byteOffset, 8);
  return view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
}

/** Opens one safetensors file. The checkpoint owns `source`: closing it closes the source, and so does a refusal. */
export async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  try {
    const header = await readSafetensorsHeader(source);
    return lazyCheckpoint({
      location: source.name,
      tensors: header.tensors,
      metadata: header.metadata,
      sources: new Map([[source.name, source]]),
    });
  } catch (error) {
    await source.close();
    throw error;
  }
}

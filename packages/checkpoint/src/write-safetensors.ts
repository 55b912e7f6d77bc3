import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { allocateBytes } from "./byte-range.ts";
import type { PlannedTensor, SafetensorsPlan } from "./checkpoint.ts";
import { planSafetensors } from "./plan.ts";
import { tensorBytes } from "./tensor-bytes.ts";

export interface WriteSafetensorsOptions {
  /** `__metadata__`; default `{ format: "pt" }`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** What a plan needs to know of tensors in memory. */
export function plannedTensors(tensors: ReadonlyMap<string, Tensor>): PlannedTensor[] {
  return [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
}

/**
 * One safetensors file in memory, with the bytes that safetensors' own serializer gives. Throws as `planSafetensors`,
 * and `OUT_OF_MEMORY` where JavaScript cannot hold the file at once: stream it then.
 */
export function writeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  options: WriteSafetensorsOptions = {},
): Uint8Array<ArrayBuffer> {
  const plan = planSafetensors(plannedTensors(tensors), { ...options, maxShardBytes: Number.MAX_SAFE_INTEGER });
  const [file] = plan.files;
  const out = allocateBytes(file.name, file.size);
  out.set(file.header);
  for (const [name, { position }] of plan.tensors) out.set(tensorBytes(tensors.get(name)!, name), position);
  return out;
}

/** A tensor's bytes, whole or piece by piece, in order. */
export type TensorBytesReader = (
  name: string,
) => Uint8Array | Promise<Uint8Array> | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes one planned file to a stream (a download, the origin's private file system, a request) in the order of its
 * bytes: `read` is asked for each tensor in turn, and waits while the stream is full. The stream is closed at the end,
 * aborted on failure. Throws `SIZE_MISMATCH` when `read` gives another number of bytes than planned.
 */
export async function streamSafetensors(
  plan: SafetensorsPlan,
  fileIndex: number,
  read: TensorBytesReader,
  stream: WritableStream<Uint8Array>,
): Promise<void> {
  const file = plan.files[fileIndex];
  if (file === undefined) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      option: "fileIndex",
      problem: "the plan has no such file",
      expected: `0 to ${plan.files.length - 1}`,
      found: `${fileIndex}`,
    });
  }
  const writer = stream.getWriter();
  try {
    await writer.ready;
    await writer.write(file.header);
    const inside = [...plan.tensors].filter(([, place]) => place.file === fileIndex);
    for (const [name, { byteLength }] of inside.sort(([, a], [, b]) => a.position - b.position)) {
      let written = 0;
      const content = await read(name);
      for await (const piece of content instanceof Uint8Array ? [content] : content) {
        written += piece.length;
        if (written > byteLength) break;
        await writer.ready;
        await writer.write(piece);
      }
      if (written !== byteLength) {
        throw new LoomweightError({
          code: "SIZE_MISMATCH",
          file: file.name,
          tensor: name,
          problem: "the data has another size than planned",
          expected: `${byteLength} bytes`,
          found: written > byteLength ? `more` : `${written}`,
        });
      }
    }
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => undefined); // the first fault is the one to tell
    throw error;
  }
}

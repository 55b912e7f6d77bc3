import { dtypeFacts, elementCount, LoomweightError, unknownName } from "@loomweight/tensor";
import { allocateBytes, checkByteRange } from "./byte-range.ts";
import type { ByteSource, Checkpoint, TensorInfo } from "./checkpoint.ts";
import { tensorFromBytes } from "./tensor-bytes.ts";

/** Error for a tensor that is not there; the nearest names are listed where the search is quick. */
export function unknownTensor(name: string, file: string, known: ReadonlyMap<string, unknown>): LoomweightError {
  return unknownName({
    kind: "tensor",
    name: name.slice(0, 200),
    known: known.size <= 5000 ? known.keys() : [],
    code: "UNKNOWN_TENSOR",
    file,
  });
}

/** A `Checkpoint` over headers that were read and checked already. `sources` by the `file` of the tensors. */
export function lazyCheckpoint(parts: {
  location: string;
  tensors: ReadonlyMap<string, TensorInfo>;
  metadata: Readonly<Record<string, string>>;
  sources: ReadonlyMap<string, ByteSource>;
}): Checkpoint {
  const { location, tensors, metadata, sources } = parts;
  let closed = false;
  const find = (name: string): { info: TensorInfo; source: ByteSource } => {
    if (closed) {
      throw new LoomweightError({ code: "CLOSED", file: location, tensor: name, problem: "the checkpoint is closed" });
    }
    const info = tensors.get(name);
    if (info === undefined) throw unknownTensor(name, location, tensors);
    return { info, source: sources.get(info.file)! };
  };
  return {
    location,
    tensors,
    metadata,
    async readBytes(name, { start = 0, end, into, signal } = {}) {
      const { info, source } = find(name);
      const stop = end ?? info.byteLength;
      checkTensorRange(info, start, stop, info.byteLength, "bytes");
      if (into !== undefined)
        checkByteRange(info.file, source.size, info.byteOffset + start, info.byteOffset + stop, into);
      signal?.throwIfAborted();
      const bytes = await source.read(info.byteOffset + start, info.byteOffset + stop, into);
      signal?.throwIfAborted();
      return bytes;
    },
    async read(name, { range, signal } = {}) {
      const { info, source } = find(name);
      const { bits } = dtypeFacts[info.dtype];
      const { start, end } = range ?? { start: 0, end: elementCount(info.shape) };
      checkTensorRange(info, start, end, elementCount(info.shape), "elements");
      if ((start * bits) % 8 !== 0 || (end * bits) % 8 !== 0) {
        throw new LoomweightError({
          code: "INVALID_RANGE",
          file: info.file,
          tensor: name,
          problem: `a range of ${bits}-bit elements must begin and end on whole bytes`,
          expected: `multiples of ${bits === 4 ? 2 : 4}`,
          found: `[${start}, ${end})`,
        });
      }
      signal?.throwIfAborted();
      const bytes = allocateBytes(info.file, ((end - start) * bits) / 8);
      const from = info.byteOffset + (start * bits) / 8;
      await source.read(from, from + bytes.length, bytes);
      signal?.throwIfAborted();
      return tensorFromBytes(info.dtype, range === undefined ? info.shape : [end - start], bytes);
    },
    async close() {
      closed = true;
      await Promise.all([...sources.values()].map((source) => source.close()));
    },
  };
}

function checkTensorRange(info: TensorInfo, start: number, end: number, size: number, unit: string): void {
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end && end <= size) return;
  throw new LoomweightError({
    code: "INVALID_RANGE",
    file: info.file,
    tensor: info.name,
    problem: `range of ${unit} outside the tensor`,
    expected: `0 <= start <= end <= ${size}`,
    found: `[${start}, ${end})`,
  });
}

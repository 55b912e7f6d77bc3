import { type CodedDType, createKernels } from "@loomweight/kernels";
import { clampFloat16Codes } from "../float16.ts";
import { bytesOf } from "../panels.ts";

/** Elements that are cast at a time. */
const blockLength = 16384;

/** The parts of a stream, cut anywhere, in a narrower dtype; float16 as `toFloat16Clamped`. */
export async function* castParts(
  parts: AsyncIterable<Uint8Array>,
  from: CodedDType,
  to: "float16" | "bfloat16",
): AsyncGenerator<Uint8Array> {
  const size = bytesOf(from);
  const kernels = createKernels({ bytes: blockLength * 12 + 4096 });
  const values = kernels.allocateValues(blockLength);
  const codes = kernels.allocateUnset(blockLength * size);
  let filled = 0;
  const flush = (count: number): Uint8Array => {
    const block = values.subarray(0, count);
    kernels.load(block, from, codes.subarray(0, count * size));
    const narrow = codes.subarray(0, 2 * count);
    kernels.store(to, narrow, block);
    if (to === "float16") clampFloat16Codes(new Uint16Array(narrow.buffer, narrow.byteOffset, count), block);
    return narrow.slice();
  };
  for await (const bytes of parts) {
    for (let at = 0; at < bytes.length; ) {
      const taken = Math.min(codes.length - filled, bytes.length - at);
      codes.set(bytes.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < codes.length) continue;
      filled = 0;
      yield flush(blockLength);
    }
  }
  if (filled > 0) yield flush(filled / size);
}

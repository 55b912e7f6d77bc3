import { type DType, fromData, LoomweightError, type Storage, type Tensor } from "@loomweight/tensor";

const dtypes: Readonly<Record<number, { dtype: DType; bytes: number }>> = {
  8: { dtype: "uint8", bytes: 1 },
  9: { dtype: "int8", bytes: 1 },
  11: { dtype: "int16", bytes: 2 },
  12: { dtype: "int32", bytes: 4 },
  13: { dtype: "float32", bytes: 4 },
  14: { dtype: "float64", bytes: 8 },
};

/**
 * An IDX file as MNIST is published, plain or gzip: [samples, height, width] images or [samples] labels in the file's
 * dtype. Throws `INVALID_FILE`.
 */
export async function readIdx(bytes: Uint8Array, file = "IDX data"): Promise<Tensor> {
  const data = bytes[0] === 0x1f && bytes[1] === 0x8b ? await gunzip(bytes, file) : bytes;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const type = dtypes[data[2]];
  const rank = data[3];
  if (data.length < 4 || view.getUint16(0) !== 0 || type === undefined || rank < 1 || rank > 8) {
    throw invalid(file, "two zero bytes, a type and a rank", "another beginning");
  }
  const header = 4 + 4 * rank;
  if (data.length < header) throw invalid(file, `a header of ${header} bytes`, `${data.length} bytes`);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const count = shape.reduce((product, size) => product * size, 1);
  if (data.length - header !== count * type.bytes) {
    throw invalid(file, `${count * type.bytes} bytes for [${shape}]`, `${data.length - header}`);
  }
  return fromData(type.dtype, littleEndian(data.subarray(header), type.dtype, type.bytes) as Storage, shape) as Tensor;
}

/** IDX stores numbers from their highest byte on. */
function littleEndian(data: Uint8Array, dtype: DType, bytes: number): ArrayBufferView {
  const own = data.slice();
  if (bytes > 1) {
    for (let at = 0; at < own.length; at += bytes) own.subarray(at, at + bytes).reverse();
  }
  const arrays = {
    uint8: Uint8Array,
    int8: Int8Array,
    int16: Int16Array,
    int32: Int32Array,
    float32: Float32Array,
    float64: Float64Array,
  };
  return new arrays[dtype as keyof typeof arrays](own.buffer);
}

/** Most bytes that a compressed file may become: a small file must not fill the memory. */
const mostBytes = 2 ** 31 - 1;

/** The content of gzip data, in Node and browsers. Throws `INVALID_FILE`. */
export async function gunzip(bytes: Uint8Array, file = "gzip data"): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream("gzip"));
    const reader = stream.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      length += next.value.length;
      if (length > mostBytes) {
        await reader.cancel();
        throw invalid(file, `at most ${mostBytes} bytes when unpacked`, "more");
      }
      parts.push(next.value);
    }
  } catch (cause) {
    if (cause instanceof LoomweightError) throw cause;
    throw invalid(file, "gzip data", cause instanceof Error ? cause.message : String(cause), cause);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function invalid(file: string, expected: string, found: string, cause?: unknown): LoomweightError {
  return new LoomweightError({
    code: "INVALID_FILE",
    problem: "the file cannot be read",
    file,
    expected,
    found,
    cause,
  });
}

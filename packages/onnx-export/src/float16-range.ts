import type { Initializer, LazyTensor, OnnxModel } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import type { ExportWarning } from "./report.ts";

/** Names of weights, and how many of their values were beyond float16's range. Filled as a model is written. */
export type Clamped = Map<string, number>;

/**
 * The model with its float16 weights held within ±65504 as they are read, where a cast gave infinity, as
 * `convertToFloat16` does; `clamped` counts what was.
 */
export function withinFloat16(model: OnnxModel, clamped: Clamped): OnnxModel {
  const initializers = [...model.graph.initializers].map(([name, each]): [string, Initializer] => [
    name,
    each.dtype === "float16" ? { ...each, data: held(each.data, (count) => clamped.set(name, count)) } : each,
  ]);
  return { ...model, graph: { ...model.graph, initializers: new Map(initializers) } };
}

function held(data: LazyTensor, report: (count: number) => void): LazyTensor {
  const { stream } = data;
  return {
    ...data,
    async read(): Promise<Tensor> {
      const tensor = (await data.read()) as Tensor<"float16">;
      if (!tensor.data.some(isInfinite)) return tensor;
      const codes = tensor.data.slice();
      report(clampCodes(codes));
      return { ...tensor, data: codes };
    },
    ...(stream && {
      async *stream() {
        let count = 0;
        for await (const part of stream()) {
          // parts end between values; they may lie at odd addresses, and may be the checkpoint's own bytes
          const aligned = part.byteOffset % 2 === 0 ? part : part.slice();
          if (!codesOf(aligned).some(isInfinite)) {
            yield aligned;
            continue;
          }
          const copy = aligned.slice();
          count += clampCodes(codesOf(copy));
          report(count);
          yield copy;
        }
      },
    }),
  };
}

const codesOf = ({ buffer, byteOffset, byteLength }: Uint8Array) =>
  new Uint16Array(buffer, byteOffset, byteLength >> 1);
const isInfinite = (code: number): boolean => (code & 0x7fff) === 0x7c00;

/** Replaces ±infinity by ±65504; how many there were. */
function clampCodes(codes: Uint16Array): number {
  let count = 0;
  for (let i = 0; i < codes.length; i++) {
    if (!isInfinite(codes[i])) continue;
    codes[i] = (codes[i] & 0x8000) | 0x7bff;
    count++;
  }
  return count;
}

/** What to tell about one model file. */
export function clampedWarnings(file: string, clamped: Clamped): ExportWarning[] {
  return [...clamped].map(([name, count]) => ({
    code: "BEYOND_FLOAT16",
    file,
    message: `${name}: ${count} ${count === 1 ? "value" : "values"} beyond ±65504 became it in float16; bf16 and fp32 hold ${count === 1 ? "it" : "them"}.`,
  }));
}

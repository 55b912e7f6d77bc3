import type { LazyTensor } from "@loomweight/graph";
import type { CodedDType } from "@loomweight/kernels";
import type { DType } from "@loomweight/tensor";
import { isCodedDType } from "../panels.ts";

/** A weight as codes that stream, in a dtype that the kernels take. */
export interface CodeStream {
  readonly dtype: CodedDType;
  readonly order: "elements" | "columns";
  /** All codes from the first on, in parts that are valid until the next one is asked for. */
  parts(): AsyncIterable<Uint8Array>;
}

/** The columns of a matrix that is stored the other way round; undefined where it is not, or not in such a dtype. */
export function columnCodes(weight: LazyTensor): CodeStream | undefined {
  return kept(weight.columns, weight.dtype, "columns");
}

/** The codes of a weight in the order that is cheapest to read; undefined where it does not stream. */
export function weightCodes(weight: LazyTensor): CodeStream | undefined {
  const { dtype, stream } = weight;
  const found = columnCodes(weight) ?? kept(weight.elements, dtype, "elements");
  if (found !== undefined || stream === undefined || !isCodedDType(dtype)) return found;
  return { dtype, order: "elements", parts: () => stream() };
}

/** Wider floats hold narrower ones exactly; anything else is cast on the way, as the graph's weight is. */
function kept(source: LazyTensor["columns"], dtype: DType, order: CodeStream["order"]): CodeStream | undefined {
  if (source === undefined || !isCodedDType(dtype)) return undefined;
  const codes = dtype === "float32" && isCodedDType(source.stored) ? source.stored : dtype;
  return { dtype: codes, order, parts: () => source.stream(codes) };
}

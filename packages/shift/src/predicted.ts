import { fromFloat64, type Tensor } from "@loomweight/tensor";
import type { Prediction } from "./define.ts";
import { rowsOf, softmaxRows } from "./rows.ts";

/** The prediction that logits [N, classes] make. Throws `INVALID_OPERAND` where they are no numbers. */
export function predicted(logits: Tensor, measures?: Readonly<Record<string, number>>): Prediction {
  const { data } = softmaxRows(rowsOf(logits, "logits"));
  const dtype = logits.dtype === "float64" ? "float64" : "float32";
  return { probabilities: fromFloat64(data, logits.shape, dtype), logits, ...(measures !== undefined && { measures }) };
}

import { type DType, isFloat } from "@loomweight/tensor";
import type { MergeNeeds } from "./define.ts";

/**
 * dtype of a merged tensor where none is asked for: that of the base for methods that start from it, else what PyTorch
 * promotes the inputs to (float16 with bfloat16 gives float32). `dtypes`: the base first where there is one.
 */
export function outputDType(needs: MergeNeeds, dtypes: readonly DType[]): DType {
  return needs.base === "required" ? dtypes[0] : dtypes.reduce(promote);
}

function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  // Whole numbers take part in no arithmetic with others: the first one's dtype stays.
  if (!isFloat(a) || !isFloat(b)) return isFloat(b) ? b : a;
  if (a === "float64" || b === "float64") return "float64";
  if (a === "float32" || b === "float32") return "float32";
  const isSmall = (dtype: DType) => dtype.startsWith("float8");
  if (isSmall(a) !== isSmall(b)) return isSmall(a) ? b : a;
  return "float32";
}

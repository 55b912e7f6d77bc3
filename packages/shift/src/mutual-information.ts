import type { Tensor } from "@loomweight/tensor";
import { rowsOf } from "./rows.ts";

/**
 * H(mean p) − mean H(p) of probabilities [N, classes], in nats: high where predictions are certain and of many classes,
 * 0 where all are alike. Chooses between options of a method (learning rates) where no labels are at hand, which the
 * mean entropy alone does not: that is lowest where everything has collapsed into one class. Throws `SHAPE_MISMATCH`,
 * `INVALID_OPERAND`.
 */
export function mutualInformation(probabilities: Tensor): number {
  const { rows, columns, data } = rowsOf(probabilities, "probabilities");
  const mean = new Float64Array(columns);
  for (const [i, p] of data.entries()) mean[i % columns] += p / rows;
  const entropy = (values: Float64Array) => values.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
  return entropy(mean) - entropy(data) / rows;
}

import { slice, type Value } from "@loomweight/graph";
import { accuracy, crossEntropy } from "@loomweight/graph/nn";
import { LoomweightError, unknownName } from "@loomweight/tensor";

/**
 * What a training lowers: `next-token`: cross entropy of each token given those before it (labels [rows, length], not
 * shifted); `tokens`: of a label at each token (masked words, token classes); `classes`: of a label for each row.
 * Labels of −100 do not count.
 */
export type Objective = "next-token" | "tokens" | "classes";
export const objectives: readonly Objective[] = ["next-token", "tokens", "classes"];

/** The loss of a batch, and what is watched beside it. Throws `UNKNOWN_OPTION`, `INVALID_BATCH`. */
export function objectiveLoss(
  objective: Objective,
  logits: Value,
  labels: Value,
): { readonly loss: Value; readonly metrics: Readonly<Record<string, Value>> } {
  const expected = objective === "classes" ? 1 : 2;
  if (labels.shape.length !== expected || logits.shape.length !== expected + 1) {
    throw new LoomweightError({
      code: "INVALID_BATCH",
      problem: `labels and logits do not fit the objective "${objective}"`,
      expected:
        expected === 1
          ? "labels [rows], logits [rows, classes]"
          : "labels [rows, length], logits [rows, length, classes]",
      found: `labels [${labels.shape}], logits [${logits.shape}]`,
    });
  }
  switch (objective) {
    case "next-token": {
      const length = Number(labels.shape[1]);
      const part = (value: Value, starts: number, ends: number) =>
        slice(value, { axes: [1], starts: [starts], ends: [ends] });
      return { loss: crossEntropy(part(logits, 0, length - 1), part(labels, 1, length)), metrics: {} };
    }
    case "tokens":
      return { loss: crossEntropy(logits, labels), metrics: {} };
    case "classes":
      return { loss: crossEntropy(logits, labels), metrics: { accuracy: accuracy(logits, labels) } };
    default:
      throw unknownName({ kind: "objective", name: String(objective), known: objectives, code: "UNKNOWN_OPTION" });
  }
}

import { slice, type Value } from "@loomweight/graph";
import { accuracy, crossEntropy } from "@loomweight/graph/nn";
import type { LossParts } from "@loomweight/graph/training";
import { LoomweightError, unknownName } from "@loomweight/tensor";

/**
 * What a training lowers: `next-token`: cross entropy of each token given those before it (labels [rows, length], not
 * shifted); `tokens`: of a label at each token (masked words, token classes); `classes`: of a label for each row.
 * Labels of −100 do not count.
 */
export type Objective = "next-token" | "tokens" | "classes";
export const objectives: readonly Objective[] = ["next-token", "tokens", "classes"];

/** Outputs of the model and the batch → what is lowered. */
export type AdapterLoss = (
  outputs: Readonly<Record<string, Value>>,
  batch: Readonly<Record<string, Value>>,
) => Value | LossParts;

/** The loss of a batch by an objective's name, on an output of the model, or by a function. Throws `UNKNOWN_OUTPUT`, `INVALID_BATCH`. */
export function batchLoss(
  objective: Objective | AdapterLoss,
  output: string,
  outputs: Readonly<Record<string, Value>>,
  batch: Readonly<Record<string, Value>>,
): LossParts {
  if (typeof objective === "function") {
    const made = objective(outputs, batch);
    return "loss" in made ? made : { loss: made };
  }
  if (outputs[output] === undefined) {
    throw new LoomweightError({
      code: "UNKNOWN_OUTPUT",
      problem: `the model has no output "${output}"`,
      option: "output",
      expected: Object.keys(outputs).slice(0, 8).join(", "),
    });
  }
  if (batch.labels === undefined) {
    throw new LoomweightError({
      code: "INVALID_BATCH",
      problem: "the batch has no labels",
      expected: '"labels" beside the inputs of the model',
      found: Object.keys(batch).join(", "),
    });
  }
  return objectiveLoss(objective, outputs[output], batch.labels);
}

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

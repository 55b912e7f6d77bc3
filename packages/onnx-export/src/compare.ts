import { LoomweightError, type Tensor, toFloat32 } from "@loomweight/tensor";

/** The real positions of a main output, one after another. */
export interface Answer {
  /** [positions, size], row-major. */
  readonly values: Float32Array;
  /** Size of the last axis. */
  readonly size: number;
}

/** Names of outputs that an export is judged by, in order of preference. */
const mainOutputs = ["logits", "last_hidden_state", "logits_per_image", "start_logits"];

/** The main output at its real positions; [rows, columns, size] is filtered by `real`, other ranks are kept whole. */
export function answerOf(
  outputs: Readonly<Record<string, Tensor>>,
  real: (row: number, column: number) => boolean,
): Answer {
  const output = mainOutputs.map((name) => outputs[name]).find((each) => each !== undefined);
  if (output === undefined || (output.dtype !== "float32" && output.dtype !== "float16")) {
    throw new LoomweightError({
      code: "UNEXPECTED_OUTPUT",
      problem: "the graph gives no float output to judge it by",
      expected: mainOutputs.join(" or "),
      found: Object.keys(outputs).join(", "),
    });
  }
  const data = toFloat32(output);
  const size = output.shape[output.shape.length - 1];
  if (output.shape.length !== 3) return { values: data, size };
  const [rows, columns] = output.shape;
  const kept: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) if (real(row, column)) kept.push(row * columns + column);
  }
  const values = new Float32Array(kept.length * size);
  for (const [i, position] of kept.entries()) {
    values.set(data.subarray(position * size, (position + 1) * size), i * size);
  }
  return { values, size };
}

/** One answer after another. */
export function joinAnswers(answers: readonly Answer[]): Answer {
  const values = new Float32Array(answers.reduce((count, answer) => count + answer.values.length, 0));
  let at = 0;
  for (const answer of answers) {
    values.set(answer.values, at);
    at += answer.values.length;
  }
  return { values, size: answers[0].size };
}

/** Largest difference, largest magnitude of the reference, share of positions with the same largest entry. NaN counts as infinitely far. */
export function compareAnswers(
  actual: Answer,
  reference: Answer,
): { maxDifference: number; largest: number; sameArgmax: number } {
  if (actual.values.length !== reference.values.length) {
    throw new LoomweightError({
      code: "UNEXPECTED_OUTPUT",
      problem: "two files of one export give outputs of different sizes",
      expected: `${reference.values.length} values`,
      found: `${actual.values.length}`,
    });
  }
  let maxDifference = 0;
  let largest = 0;
  for (let i = 0; i < reference.values.length; i++) {
    const difference = Math.abs(actual.values[i] - reference.values[i]);
    maxDifference = Math.max(maxDifference, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
    largest = Math.max(largest, Math.abs(reference.values[i]));
  }
  const { size } = reference;
  const positions = reference.values.length / size;
  let same = 0;
  for (let start = 0; start < reference.values.length; start += size) {
    const best = (values: Float32Array) => values.indexOf(values.reduce((most, value) => Math.max(most, value)));
    if (best(actual.values.subarray(start, start + size)) === best(reference.values.subarray(start, start + size)))
      same++;
  }
  return { maxDifference, largest, sameArgmax: same / positions };
}

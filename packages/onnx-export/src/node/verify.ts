import { openSession } from "@loomweight/graph/node";
import { LoomweightError } from "@loomweight/tensor";
import { type Answer, answerOf, compareAnswers, joinAnswers } from "../compare.ts";
import type { Verification } from "../report.ts";
import { nextInputs, sampleInputs } from "../sample-inputs.ts";

export interface VerifyOptions {
  /** Name of the fp32 file, which the others are compared with; default none. */
  readonly reference?: string;
  /** Called before each file is loaded. */
  readonly before?: (name: string) => void;
}

/**
 * Loads each model file with onnxruntime on the CPU, runs a small padded input through it (and one cached step where
 * there is a cache), and compares with the reference. Where onnxruntime-node is not installed
 * nothing runs, and the result says so. Throws `VERIFICATION_FAILED` when a file cannot be loaded or run, or gives NaN.
 *
 * @param files name → path
 */
export async function verifyFiles(
  files: ReadonlyMap<string, string>,
  config: Readonly<Record<string, unknown>>,
  { reference, before = () => {} }: VerifyOptions = {},
): Promise<Map<string, Verification>> {
  const results = new Map<string, Verification>();
  let expected: Answer | undefined;
  const order = [...files.keys()].sort((a, b) => Number(b === reference) - Number(a === reference));
  for (const name of order) {
    before(name);
    const answer = await answerOfFile(files.get(name) as string, name, config);
    if (typeof answer === "string") {
      results.set(name, { ran: false, reason: answer });
      continue;
    }
    if (name === reference) expected = answer;
    results.set(name, { ran: true, ...(expected === undefined ? {} : compareAnswers(answer, expected)) });
  }
  return results;
}

/** The answer, or why onnxruntime cannot be asked. */
async function answerOfFile(
  path: string,
  name: string,
  config: Readonly<Record<string, unknown>>,
): Promise<Answer | string> {
  try {
    const session = await openSession(path, { threads: 1 });
    try {
      const { feeds, real } = sampleInputs(session.inputs, config);
      const outputs = await session.run(feeds);
      const answers = [answerOf(outputs, real)];
      if (Object.keys(feeds).some((each) => each.startsWith("past_key_values."))) {
        answers.push(answerOf(await session.run(nextInputs(feeds, outputs)), () => true));
      }
      const answer = joinAnswers(answers);
      if (answer.values.every(Number.isFinite)) return answer;
      throw new LoomweightError({ code: "VERIFICATION_FAILED", problem: "the outputs are not finite", file: name });
    } finally {
      await session.close();
    }
  } catch (cause) {
    if (cause instanceof LoomweightError && cause.code === "RUNTIME_MISSING") return cause.message;
    throw new LoomweightError({
      code: "VERIFICATION_FAILED",
      problem: `the exported file does not run: ${cause instanceof Error ? cause.message : String(cause)}`,
      file: name,
      fix: "The output was not kept. To look at it, export with verification off.",
      cause,
    });
  }
}

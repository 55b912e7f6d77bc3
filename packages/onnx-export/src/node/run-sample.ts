import { openSession, type Session } from "@loomweight/graph/node";
import { type Tensor, toFloat32 } from "@loomweight/tensor";
import { nextInputs, sampleInputs, sampleTokens } from "../sample-inputs.ts";
import { type Finding, fault } from "../verify/finding.ts";
import { type OutputDifference, outputDifferences } from "../verify/output-difference.ts";
import { type Perplexity, perplexity, predictsText } from "../verify/perplexity.ts";

type Outputs = Readonly<Record<string, Tensor>>;

/** Outputs of the first run, and of a cached step where there is a cache. */
export interface Answers {
  readonly first: Outputs;
  readonly next?: Outputs;
  readonly real: (row: number, column: number) => boolean;
}

/** What a run needs to know of the export that the file belongs to. */
export interface Surroundings {
  readonly config: Readonly<Record<string, unknown>>;
  /** Rows of the sample: onnxruntime-genai pads otherwise than the rest, so one. */
  readonly rows: number;
  readonly options: { readonly text?: readonly number[]; readonly window?: number; readonly signal?: AbortSignal };
}

/** Runs a file on a small padded input, and scores the text where there is one. */
export async function answer(
  file: string,
  { config, rows, options: { text, window, signal } }: Surroundings,
): Promise<{ answers: Answers; perplexity?: Perplexity }> {
  const session = await openSession(file, { threads: 1 });
  try {
    const answers = await run(session, config, rows);
    if (text === undefined || !predictsText(session.inputs)) return { answers };
    return { answers, perplexity: await perplexity(session, text, { window, signal }) };
  } finally {
    await session.close();
  }
}

async function run(session: Session, config: Readonly<Record<string, unknown>>, rows: number): Promise<Answers> {
  const { feeds, real } = sampleInputs(session.inputs, config, rows);
  const first = await session.run(feeds);
  const cached = Object.keys(feeds).some((name) => name.startsWith("past_key_values."));
  return { first, real, ...(cached ? { next: await session.run(nextInputs(feeds, first)) } : {}) };
}

/** Of both steps, the worse one for each output. */
export function differences(actual: Answers, reference: Answers): OutputDifference[] {
  const first = outputDifferences(actual.first, reference.first, sampleTokens, reference.real);
  if (actual.next === undefined || reference.next === undefined) return first;
  const next = outputDifferences(actual.next, reference.next, sampleTokens, reference.real);
  return first.map((each) => {
    const later = next.find(({ name }) => name === each.name);
    return later !== undefined && later.relative > each.relative ? later : each;
  });
}

/** A finding for each output that is not finite where it counts. */
export function notFinite({ first, next = {}, real }: Answers): Finding[] {
  // rows of padding may hold anything: an output is compared with itself over what counts
  const bad = [first, next].flatMap((outputs) => {
    const floats = Object.entries(outputs).filter(([, { dtype }]) => dtype === "float32" || dtype === "float16");
    return floats
      .filter(([name, tensor]) => {
        if (toFloat32(tensor).every(Number.isFinite)) return false;
        const [self] = outputDifferences({ [name]: tensor }, { [name]: tensor }, sampleTokens, real);
        return !Number.isFinite(self.maxDifference) || !Number.isFinite(self.largest);
      })
      .map(([name]) => name);
  });
  return [...new Set(bad)].map((name) => fault("NOT_FINITE", `the output ${name} is not finite`));
}

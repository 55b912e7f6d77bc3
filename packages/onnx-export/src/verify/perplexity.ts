import { fromData, LoomweightError, type Tensor, toFloat32 } from "@loomweight/tensor";
import { type InputFacts, sampleInputs } from "../sample-inputs.ts";

export interface PerplexityOptions {
  /** Tokens of one window; windows do not overlap, and each begins without a past. Default 512. */
  readonly window?: number;
  readonly signal?: AbortSignal;
}

export interface Perplexity {
  /** exp of the mean of −ln p(token | tokens before it in its window). */
  readonly value: number;
  /** Tokens that were predicted. */
  readonly tokens: number;
}

/** What is run: a session, or anything like it. */
export interface TextModel {
  readonly inputs: readonly InputFacts[];
  run(
    feeds: Readonly<Record<string, Tensor>>,
    options?: { outputs?: readonly string[] },
  ): Promise<Record<string, Tensor>>;
}

/** Whether a graph predicts the next token: it takes tokens and a cache. */
export function predictsText(inputs: readonly InputFacts[]): boolean {
  const names = inputs.map(({ name }) => name);
  return names.includes("input_ids") && names.some((name) => /^past_key_values\.\d+\.key$/.test(name));
}

/** Perplexity of a decoder on a text of token ids. Throws `INVALID_OPTION` for fewer than two tokens. */
export async function perplexity(
  model: TextModel,
  ids: readonly number[],
  { window = 512, signal }: PerplexityOptions = {},
): Promise<Perplexity> {
  if (ids.length < 2) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      option: "text",
      problem: "perplexity needs a text of two tokens or more",
      found: `${ids.length}`,
    });
  }
  let sum = 0;
  let tokens = 0;
  for (let start = 0; start + 1 < ids.length; start += window) {
    signal?.throwIfAborted();
    const part = ids.slice(start, start + window);
    if (part.length < 2) break;
    const { logits } = await model.run(feedsOf(model.inputs, part), { outputs: ["logits"] });
    const vocabulary = logits.shape[2];
    const values = toFloat32(logits);
    for (let i = 0; i + 1 < part.length; i++) sum += crossEntropy(values, i * vocabulary, vocabulary, part[i + 1]);
    tokens += part.length - 1;
  }
  return { value: Math.exp(sum / tokens), tokens };
}

function feedsOf(inputs: readonly InputFacts[], ids: readonly number[]): Record<string, Tensor> {
  const row = (values: readonly number[]) => fromData("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  const tokenInputs: Readonly<Record<string, (index: number) => number>> = {
    input_ids: (i) => ids[i],
    attention_mask: () => 1,
    position_ids: (i) => i,
    token_type_ids: () => 0,
  };
  // caches without a past, empty adapter slots
  const { feeds } = sampleInputs(inputs, {}, 1);
  for (const { name } of inputs) {
    if (Object.hasOwn(tokenInputs, name)) feeds[name] = row(ids.map((_, i) => tokenInputs[name](i)));
  }
  return feeds;
}

/** −ln softmax(values[start …])[target], in float64. */
function crossEntropy(values: ArrayLike<number>, start: number, count: number, target: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + count; i++) largest = Math.max(largest, values[i]);
  let sum = 0;
  for (let i = start; i < start + count; i++) sum += Math.exp(values[i] - largest);
  return Math.log(sum) + largest - values[start + target];
}

import type { Session } from "@loomweight/graph/node";
import { fromData, LoomweightError, type Tensor, zeros } from "@loomweight/tensor";
import { drawToken, likeliestToken, type Sampling } from "./choose-token.ts";

/** How a continuation is made. */
export interface ContinueOptions {
  readonly maxNewTokens: number;
  /** Tokens that end it. */
  readonly endTokens: ReadonlySet<number>;
  /** Undefined: always the likeliest token. */
  readonly sampling?: Sampling;
  /** Uniform numbers in [0, 1), one a token; needed with `sampling`. */
  readonly random?: () => number;
  readonly signal?: AbortSignal;
}

/**
 * Continues a prompt with an exported decoder: `input_ids`, `attention_mask`, `position_ids` and a cache
 * `past_key_values.{i}.key|value` [1, heads, past, size] in; `logits` [1, length, vocabulary] and `present.{i}.…` out.
 * The prompt is run at once, then one token a step. Yields each new token; the end token is not yielded. The cache stays
 * in the session's thread; a graph with `num_logits_to_keep` computes the logits of the last position only.
 */
export async function* continuePrompt(
  session: Session,
  prompt: readonly number[],
  options: ContinueOptions,
): AsyncGenerator<number> {
  const { maxNewTokens, endTokens, sampling, random, signal } = options;
  const caches = session.inputs.filter(({ name }) => name.startsWith("past_key_values."));
  const keep = Object.fromEntries(caches.map(({ name }) => [name.replace("past_key_values", "present"), name]));
  let cache: Record<string, Tensor> = Object.fromEntries(caches.map((input) => [input.name, emptyCache(input)]));
  let ids = prompt;
  let past = 0;
  for (let made = 0; made < maxNewTokens; made++) {
    signal?.throwIfAborted();
    const total = past + ids.length;
    const feeds: Record<string, Tensor> = {
      input_ids: int64([1, ids.length], (i) => ids[i]),
      attention_mask: int64([1, total], () => 1),
      position_ids: int64([1, ids.length], (i) => past + i),
      num_logits_to_keep: int64([], () => 1),
    };
    const wanted = session.inputs.filter(({ name }) => name in feeds).map(({ name }) => [name, feeds[name]] as const);
    const outputs = await session.run({ ...Object.fromEntries(wanted), ...cache }, { keep });
    const logits = lastRow(outputs.logits);
    const token =
      sampling === undefined || random === undefined ? likeliestToken(logits) : drawToken(logits, sampling, random());
    if (endTokens.has(token)) return;
    yield token;
    cache = {};
    ids = caches.length > 0 ? [token] : [...ids, token];
    past = caches.length > 0 ? total : 0;
  }
}

function emptyCache(input: { name: string; dtype: Tensor["dtype"]; shape: readonly (number | string)[] }): Tensor {
  const [, heads, , size] = input.shape;
  if (typeof heads !== "number" || typeof size !== "number") {
    throw new LoomweightError({
      code: "UNSUPPORTED_MODEL",
      problem: `input "${input.name}" of the graph does not give its heads and head size as numbers`,
      found: `[${input.shape.join(", ")}]`,
      fix: "Export the model again with loomweight export.",
    });
  }
  return zeros([1, heads, 0, size], input.dtype);
}

function int64(shape: readonly number[], value: (index: number) => number): Tensor<"int64"> {
  const data = BigInt64Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, i) =>
    BigInt(value(i)),
  );
  return fromData("int64", data, shape);
}

/** Logits of the last position as float32. */
function lastRow(logits: Tensor | undefined): Float32Array {
  if (logits === undefined || logits.dtype !== "float32") {
    throw new LoomweightError({
      code: "UNSUPPORTED_MODEL",
      problem: 'the graph has no float32 output "logits"',
      fix: "Only text-generation models can continue a prompt.",
    });
  }
  const vocabulary = logits.shape[logits.shape.length - 1];
  const data = logits.data as Float32Array;
  return data.subarray(data.length - vocabulary);
}

import { fromData, invalidOption, LoomweightError, type Tensor } from "@loomweight/tensor";

/** Token ids of one text. */
export type Tokens = ArrayLike<number>;

/** What models of text take, all int64 [texts, length]. */
export interface TokenBatch {
  readonly input_ids: Tensor<"int64">;
  /** 1 at tokens, 0 at padding. */
  readonly attention_mask: Tensor<"int64">;
  /** Counts tokens from 0 within each text; 0 at padding. */
  readonly position_ids: Tensor<"int64">;
  /** The token at each place where it counts in the loss, −100 elsewhere. Not shifted: models of text do that. */
  readonly labels: Tensor<"int64">;
}

/** Label of places that do not count in a loss. */
export const ignoredLabel = -100;

export interface PadOptions {
  readonly padId: number;
  /** `right` to train (default), `left` to generate. */
  readonly side?: "left" | "right";
  /** Every batch of this length, longer texts are refused; default: the longest text's. */
  readonly length?: number;
  /** Round the length up to a multiple; default 1. */
  readonly multipleOf?: number;
  /** Longer texts are cut at this length: the end of `right`-padded ones, the beginning of `left`-padded ones. */
  readonly truncate?: number;
  /** Tokens at each text's start that do not count in the loss: prompts of completions. Default none. */
  readonly promptLengths?: ArrayLike<number>;
}

/** Texts of unequal length as one batch. Throws `INVALID_OPTION`, `TEXT_TOO_LONG`. */
export function padTokens(texts: readonly Tokens[], options: PadOptions): TokenBatch {
  const { padId, side = "right", multipleOf = 1, truncate, promptLengths } = options;
  for (const [option, value] of [
    ["multipleOf", multipleOf],
    ["truncate", truncate ?? 1],
    ["length", options.length ?? 1],
  ] as const) {
    if (!Number.isInteger(value) || value < 1) throw invalidOption({ option }, value, "a whole number of at least 1");
  }
  const kept = texts.map((text) => {
    const cut = Math.max(0, text.length - (truncate ?? text.length));
    return { text, from: side === "left" ? cut : 0, count: text.length - cut };
  });
  const longest = kept.reduce((most, { count }) => Math.max(most, count), 0);
  const length = options.length ?? Math.ceil(longest / multipleOf) * multipleOf;
  if (longest > length) {
    throw new LoomweightError({
      code: "TEXT_TOO_LONG",
      problem: `text ${kept.findIndex(({ count }) => count === longest)} has ${longest} tokens`,
      expected: `at most ${length}`,
      fix: "Raise `length`, or cut texts with `truncate`.",
    });
  }
  const [ids, mask, positions, labels] = [BigInt(padId), 0n, 0n, BigInt(ignoredLabel)].map((value) =>
    new BigInt64Array(texts.length * length).fill(value),
  );
  for (const [row, { text, from, count }] of kept.entries()) {
    const start = row * length + (side === "left" ? length - count : 0);
    const prompt = promptLengths?.[row] ?? 0;
    for (let i = 0; i < count; i++) {
      const token = BigInt(text[from + i]);
      ids[start + i] = token;
      mask[start + i] = 1n;
      positions[start + i] = BigInt(i);
      if (from + i >= prompt) labels[start + i] = token;
    }
  }
  return tokenBatch([texts.length, length], { ids, mask, positions, labels });
}

export function tokenBatch(
  shape: readonly number[],
  codes: Record<"ids" | "mask" | "positions" | "labels", BigInt64Array>,
): TokenBatch {
  return {
    input_ids: fromData("int64", codes.ids, shape),
    attention_mask: fromData("int64", codes.mask, shape),
    position_ids: fromData("int64", codes.positions, shape),
    labels: fromData("int64", codes.labels, shape),
  };
}

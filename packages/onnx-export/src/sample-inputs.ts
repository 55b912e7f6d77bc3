import { elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { rowsInput } from "./slots/add-slots.ts";

/** An input of a graph as a session describes it. */
export interface InputFacts {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | string)[];
}

/** Tokens of a sample row; the second row is padded by `padding` of them. */
export const sampleTokens = 7;
const tokens = sampleTokens;
const padding = 3;
const defaultRows = 2;

/** Sizes of inputs whose graphs leave them open: what is not here and no batch is a cache, and empty. */
const sizes: Readonly<Record<string, number>> = {
  sequence_length: tokens,
  encoder_sequence_length: tokens,
  decoder_sequence_length: tokens,
  height: 64,
  width: 48,
  adapters: 1,
};

/**
 * Small fixed inputs for any exported graph: `rows` (2) rows of token ids, all but the first padded (on the left where the graph
 * has a cache, on the right otherwise), images, sounds and encoder states of a fixed pattern. `real` tells which
 * positions count.
 */
export function sampleInputs(
  inputs: readonly InputFacts[],
  config: Readonly<Record<string, unknown>>,
  rows = defaultRows,
): { feeds: Record<string, Tensor>; real: (row: number, column: number) => boolean } {
  const vocabulary = vocabularySize(config);
  const left = inputs.some(({ name }) => name.startsWith("past_key_values."));
  const masked = inputs.some(({ name }) => name === "attention_mask");
  const padded = (row: number, column: number, atLeft: boolean) =>
    row > 0 && (atLeft ? column < padding : column >= tokens - padding);
  const real = (row: number, column: number) => !masked || !padded(row, column, left);
  const byColumn = (value: (row: number, column: number) => number) =>
    fromData(
      "int64",
      BigInt64Array.from({ length: rows * tokens }, (_, i) => BigInt(value(Math.floor(i / tokens), i % tokens))),
      [rows, tokens],
    );
  const make = ({ name, dtype, shape }: InputFacts): Tensor => {
    if (name === "input_ids") return byColumn((row, column) => (7919 * (row * tokens + column) + 13) % vocabulary);
    if (name === "attention_mask") return byColumn((row, column) => (real(row, column) ? 1 : 0));
    if (name === "encoder_attention_mask") return byColumn((row, column) => (padded(row, column, false) ? 0 : 1));
    if (name === "position_ids")
      return byColumn((row, column) => Math.max(0, row === 0 || !left ? column : column - padding));
    if (name === "token_type_ids") return byColumn(() => 0);
    const dims = shape.map((size) =>
      typeof size === "number" ? size : size.includes("batch") ? rows : (sizes[size] ?? 0),
    );
    const count = elementCount(dims);
    // adapter slots hold nothing: ranks are 0, scales 1, every row takes the first of a stack of one
    if (name === rowsInput) return fromData("int64", new BigInt64Array(count), dims);
    if (name.endsWith(".lora_scale")) return fromData("float32", new Float32Array(count).fill(1), dims);
    if (dtype === "bool") return fromData("bool", new Uint8Array(count), dims);
    if (dtype === "int64") return fromData("int64", new BigInt64Array(count), dims);
    if (dtype === "float16") return fromData("float16", new Uint16Array(count), dims);
    // a pattern without symmetry, within what normalised pixels reach
    return fromData(
      "float32",
      Float32Array.from({ length: count }, (_, i) => ((i * 37) % 101) / 50 - 1),
      dims,
    );
  };
  return { feeds: Object.fromEntries(inputs.map((each) => [each.name, make(each)])), real };
}

/** Ids below it are safe to feed: the vocabulary's size, of the text tower where there are two. */
function vocabularySize(config: Readonly<Record<string, unknown>>): number {
  const inner = config.text_config as Readonly<Record<string, unknown>> | null | undefined;
  const size = config.vocab_size ?? inner?.vocab_size;
  return typeof size === "number" && size > 0 ? size : 2;
}

/** Inputs of the next step: one more real token in each row, after the cache that the first step gave. */
export function nextInputs(
  feeds: Readonly<Record<string, Tensor>>,
  outputs: Readonly<Record<string, Tensor>>,
): Record<string, Tensor> {
  const column = (values: readonly number[]) => fromData("int64", BigInt64Array.from(values, BigInt), [defaultRows, 1]);
  const next: Record<string, Tensor> = { ...feeds, input_ids: column([1, 1]) };
  if (feeds.attention_mask !== undefined) {
    const mask = feeds.attention_mask.data as BigInt64Array;
    const longer = BigInt64Array.from({ length: defaultRows * (tokens + 1) }, (_, i) => {
      const [row, at] = [Math.floor(i / (tokens + 1)), i % (tokens + 1)];
      return at === tokens ? 1n : mask[row * tokens + at];
    });
    next.attention_mask = fromData("int64", longer, [defaultRows, tokens + 1]);
  }
  if (feeds.position_ids !== undefined) next.position_ids = column([tokens, tokens - padding]);
  for (const name of Object.keys(feeds)) {
    if (name.startsWith("past_key_values.")) next[name] = outputs[name.replace("past_key_values.", "present.")];
  }
  return next;
}

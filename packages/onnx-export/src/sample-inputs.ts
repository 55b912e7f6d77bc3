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
 * Small fixed inputs for any exported graph: `rows` (2, or as many as the graph's `input_ids` have) rows of token ids, all but the first padded (on the left where the graph
 * has a cache, on the right otherwise), images, sounds and encoder states of a fixed pattern. `real` tells which
 * positions count.
 */
export function sampleInputs(
  inputs: readonly InputFacts[],
  config: Readonly<Record<string, unknown>>,
  rows = statedRows(inputs) ?? defaultRows,
): { feeds: Record<string, Tensor>; real: (row: number, column: number) => boolean } {
  const vocabulary = vocabularySize(config);
  const [kvHeads, headDim] = cacheSize(config);
  const left = inputs.some(({ name }) => name.startsWith("past_key_values."));
  const masked = inputs.some(({ name }) => name === "attention_mask");
  const padded = (row: number, column: number, atLeft: boolean) =>
    row > 0 && (atLeft ? column < padding : column >= tokens - padding);
  const real = (row: number, column: number) => !masked || !padded(row, column, left);
  const byColumn = (dtype: string, value: (row: number, column: number) => number) => {
    const values = Array.from({ length: rows * tokens }, (_, i) => value(Math.floor(i / tokens), i % tokens));
    return dtype === "int32"
      ? fromData("int32", Int32Array.from(values), [rows, tokens])
      : fromData("int64", BigInt64Array.from(values, BigInt), [rows, tokens]);
  };
  const make = ({ name, dtype, shape }: InputFacts): Tensor => {
    if (name === "input_ids")
      return byColumn(dtype, (row, column) => (7919 * (row * tokens + column) + 13) % vocabulary);
    if (name === "attention_mask") return byColumn(dtype, (row, column) => (real(row, column) ? 1 : 0));
    if (name === "encoder_attention_mask")
      return byColumn(dtype, (row, column) => (padded(row, column, false) ? 0 : 1));
    if (name === "position_ids")
      return byColumn(dtype, (row, column) => Math.max(0, row === 0 || !left ? column : column - padding));
    if (name === "token_type_ids") return byColumn(dtype, () => 0);
    const cacheSizes = name.startsWith("past_key_values.") ? { 1: kvHeads, 3: headDim } : {};
    const dims = shape.map((size, axis) =>
      typeof size === "number"
        ? size
        : size.includes("batch")
          ? rows
          : ((cacheSizes as Record<number, number>)[axis] ?? sizes[size] ?? 0),
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

/** How many rows a graph takes, where it takes no other number. */
function statedRows(inputs: readonly InputFacts[]): number | undefined {
  const rows = inputs.find(({ name }) => name === "input_ids")?.shape[0];
  return typeof rows === "number" && rows > 0 ? rows : undefined;
}

/** Ids below it are safe to feed: the vocabulary's size, of the text tower where there are two. */
function vocabularySize(config: Readonly<Record<string, unknown>>): number {
  const inner = config.text_config as Readonly<Record<string, unknown>> | null | undefined;
  const size = config.vocab_size ?? inner?.vocab_size;
  return typeof size === "number" && size > 0 ? size : 2;
}

/** Heads and size of a head in a cache, for graphs that do not say; 0 where the configuration does not either. */
function cacheSize(config: Readonly<Record<string, unknown>>): readonly [kvHeads: number, headDim: number] {
  const inner = (config.text_config ?? config) as Readonly<Record<string, unknown>>;
  const count = (value: unknown) => (Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : 0);
  const heads = count(inner.num_attention_heads ?? inner.n_head);
  const kvHeads = count(inner.num_key_value_heads) || heads;
  return [kvHeads, count(inner.head_dim) || Math.floor(count(inner.hidden_size ?? inner.n_embd) / heads) || 0];
}

/** Inputs of the next step: one more real token in each row, after the cache that the first step gave. */
export function nextInputs(
  feeds: Readonly<Record<string, Tensor>>,
  outputs: Readonly<Record<string, Tensor>>,
): Record<string, Tensor> {
  const [rows] = feeds.input_ids?.shape ?? feeds.attention_mask?.shape ?? [defaultRows];
  /** Whole numbers [rows, width] in the dtype of the first step's. */
  const wholes = (like: Tensor, width: number, value: (row: number, column: number) => number) => {
    const values = Array.from({ length: rows * width }, (_, i) => value(Math.floor(i / width), i % width));
    return like.dtype === "int32"
      ? fromData("int32", Int32Array.from(values), [rows, width])
      : fromData("int64", BigInt64Array.from(values, BigInt), [rows, width]);
  };
  const next: Record<string, Tensor> = { ...feeds };
  const { input_ids: ids, attention_mask: mask, position_ids: positions } = feeds;
  if (ids !== undefined) next.input_ids = wholes(ids, 1, () => 1);
  if (mask !== undefined) {
    const before = (row: number, column: number) => Number(mask.data[row * tokens + column]);
    next.attention_mask = wholes(mask, tokens + 1, (row, column) => (column === tokens ? 1 : before(row, column)));
  }
  if (positions !== undefined) {
    next.position_ids = wholes(positions, 1, (row) => (row === 0 ? tokens : tokens - padding));
  }
  for (const name of Object.keys(feeds)) {
    if (name.startsWith("past_key_values.")) next[name] = outputs[name.replace("past_key_values.", "present.")];
  }
  return next;
}

import { elementCount, fromData, type Tensor } from "@loomweight/tensor";

/** An input of a graph as a session describes it. */
export interface InputFacts {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | string)[];
}

/** Tokens of a sample row; the second row is padded by `padding` of them. */
const tokens = 7;
const padding = 3;
const rows = 2;

/**
 * Small fixed inputs for any exported graph: two rows of token ids, the second one padded (on the left where the graph
 * has a cache, on the right otherwise), or two images of a fixed pattern. `real` tells which positions count.
 */
export function sampleInputs(
  inputs: readonly InputFacts[],
  config: Readonly<Record<string, unknown>>,
): { feeds: Record<string, Tensor>; real: (row: number, column: number) => boolean } {
  const vocabulary = typeof config.vocab_size === "number" && config.vocab_size > 0 ? config.vocab_size : 2;
  const left = inputs.some(({ name }) => name.startsWith("past_key_values."));
  const real = (row: number, column: number) => row === 0 || (left ? column >= padding : column < tokens - padding);
  const byColumn = (value: (row: number, column: number) => number) =>
    fromData(
      "int64",
      BigInt64Array.from({ length: rows * tokens }, (_, i) => BigInt(value(Math.floor(i / tokens), i % tokens))),
      [rows, tokens],
    );
  const make = ({ name, dtype, shape }: InputFacts): Tensor => {
    if (name === "input_ids") return byColumn((row, column) => (7919 * (row * tokens + column) + 13) % vocabulary);
    if (name === "attention_mask") return byColumn((row, column) => (real(row, column) ? 1 : 0));
    if (name === "position_ids")
      return byColumn((row, column) => Math.max(0, row === 0 || !left ? column : column - padding));
    if (name === "token_type_ids") return byColumn(() => 0);
    const sizes = shape.map((size, axis) => (typeof size === "number" ? size : axis === 0 ? rows : 0));
    const count = elementCount(sizes);
    if (dtype === "float16") return fromData("float16", new Uint16Array(count), sizes);
    // a pattern without symmetry, within what normalised pixels reach
    return fromData(
      "float32",
      Float32Array.from({ length: count }, (_, i) => ((i * 37) % 101) / 50 - 1),
      sizes,
    );
  };
  return { feeds: Object.fromEntries(inputs.map((each) => [each.name, make(each)])), real };
}

/** Inputs of the next step: one more real token in each row, after the cache that the first step gave. */
export function nextInputs(
  feeds: Readonly<Record<string, Tensor>>,
  outputs: Readonly<Record<string, Tensor>>,
): Record<string, Tensor> {
  const column = (values: readonly number[]) => fromData("int64", BigInt64Array.from(values, BigInt), [rows, 1]);
  const next: Record<string, Tensor> = {
    input_ids: column([1, 1]),
    attention_mask: fromData(
      "int64",
      BigInt64Array.from({ length: rows * (tokens + 1) }, (_, i) => {
        const [row, at] = [Math.floor(i / (tokens + 1)), i % (tokens + 1)];
        return at === tokens ? 1n : (feeds.attention_mask.data as BigInt64Array)[row * tokens + at];
      }),
      [rows, tokens + 1],
    ),
    position_ids: column([tokens, tokens - padding]),
  };
  for (const name of Object.keys(feeds)) {
    if (name.startsWith("past_key_values.")) next[name] = outputs[name.replace("past_key_values.", "present.")];
  }
  return next;
}

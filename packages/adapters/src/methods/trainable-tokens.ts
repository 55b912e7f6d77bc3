import {
  add,
  cast,
  equal,
  gather,
  matMul,
  mul,
  reduceSum,
  scatterND,
  sub,
  transpose,
  unsqueeze,
} from "@loomweight/graph";
import { type FloatDType, fromData, LoomweightError, type OptionValues, type Tensor } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { indexList } from "../option-lists.ts";
import { note, option } from "../peft/field.ts";
import type { Json, PeftConfig } from "../peft/format.ts";

const options = { tokens: indexList("ids of the tokens whose rows are trained, in the order of the rows") };

/**
 * Trainable tokens: rows of an embedding [tokens, width] are replaced, row tokens[i] by row i of `rows` [n, width]; the
 * others stay. PEFT calls the tensor a delta, but it holds the new rows.
 * Source: PEFT's `TRAINABLE_TOKENS`, also within a LoRA adapter (`trainable_token_indices`).
 */
export const trainableTokens = defineAdapter({
  name: "trainable-tokens",
  source: "github:huggingface/peft",
  scope: "layer",
  kinds: ["embedding"],
  options,
  params: (layer, { tokens }) => {
    const beyond = tokens.find((token) => token >= layer.in);
    if (beyond === undefined) return { rows: [tokens.length, "out"] };
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "a trained token is not in the vocabulary",
      option: "trainable-tokens.tokens",
      expected: `ids below ${layer.in}`,
      found: String(beyond),
    });
  },
  init: (layer, { tokens }, { weight }) => {
    if (weight === undefined) {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        problem: "trainable-tokens starts from rows of the layer's weight, which was not given",
        option: "init weight",
        expected: `a weight [${layer.out}, ${layer.in}]`,
      });
    }
    const rows = new Float32Array(tokens.length * layer.out);
    const data = weight.data as Float64Array;
    tokens.forEach((token, i) => {
      for (let j = 0; j < layer.out; j++)
        rows[i * layer.out + j] = data[weight.offset + j * weight.stride[0] + token * weight.stride[1]];
    });
    return { rows: fromData("float32", rows, [tokens.length, layer.out]) };
  },
  apply: (layer, { rows }, x, { tokens }) => {
    const y = layer.forward(x);
    if (tokens.length === 0) return y;
    // Which of the trained tokens each id is, [..., n]: no row or one.
    const matches = cast(equal(unsqueeze(cast(x, "int64"), [-1]), idsOf(tokens)), y.dtype as FloatDType);
    const kept = sub(1, reduceSum(matches, [-1], true));
    return add(mul(y, kept), matMul(matches, rows));
  },
  weight: (layer, { rows }, { tokens }) => {
    const first = layer.offset?.in ?? 0;
    const here = tokens.flatMap((token, i) => (token >= first && token < first + layer.in ? [i] : []));
    if (here.length === 0) return layer.weight;
    const places = idsOf(here.map((i) => tokens[i] - first));
    const stored = transpose(layer.weight, [1, 0]);
    return transpose(
      scatterND(stored, { ...places, shape: [here.length, 1], stride: [1, 1] }, gather(rows, here)),
      [1, 0],
    );
  },
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["TRAINABLE_TOKENS"],
    fields: { init_weights: note(true), token_indices: option([]) },
    optionFields: { tokens: "token_indices" },
    readOptions: (config) => ({ tokens: config.trainable_token_indices === undefined ? config.token_indices : [] }),
    moduleOptions: (config, path) =>
      config.trainable_token_indices === undefined ? {} : { tokens: tokensOf(config.trainable_token_indices, path) },
    readTargets: (config) => ({ target_modules: config.target_modules }),
    suffixes: {
      trainable_tokens_delta: { param: "rows", kind: "embedding" },
      "token_adapter.trainable_tokens_delta": { param: "rows", kind: "embedding" },
    },
    biasOfAdapted: [],
  },
});

/** `trainable_token_indices` of a LoRA adapter: one list, or one for each module by the end of its path. */
function tokensOf(value: Json, path: string): Json {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const entries = Object.entries(value as PeftConfig);
  return entries.find(([name]) => path === name || path.endsWith(`.${name}`))?.[1] ?? null;
}

function idsOf(tokens: readonly number[]): Tensor<"int64"> {
  return fromData("int64", BigInt64Array.from(tokens, BigInt), [tokens.length]);
}

/** Options of `trainableTokens`, checked. */
export type TrainableTokensOptions = OptionValues<typeof options>;

import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { add, mul } from "../ops/elementwise.ts";
import { matMul } from "../ops/matmul.ts";
import { softmax } from "../ops/reduce.ts";
import { expand, reshape, split, transpose } from "../ops/shape.ts";
import type { RandomInputs } from "../training/random-inputs.ts";
import type { Value } from "../value.ts";
import { dropout } from "./dropout.ts";
import { linear } from "./linear.ts";
import { inLayer, type Parameters, parameterName, sizesOf } from "./parameters.ts";
import { rotate } from "./rope.ts";

export interface DotProductOptions {
  /** Each position sees itself and those before it. Default false. */
  readonly causal?: boolean;
  /** Added to the scores: 0 where attention is allowed, very negative elsewhere; broadcasts to [batch, heads, q, k]. */
  readonly mask?: Value;
  /** Default 1 / √size of a head. */
  readonly scale?: number;
  readonly dropout?: { readonly rate: number; readonly random: RandomInputs | undefined; readonly name: string };
}

/** What a forbidden score gets: its exponential is 0, and no difference of two such is NaN. */
const forbidden = -1e9;

/** Scores of a causal mask [queries, keys]: the last query sees every key. */
export function causalMask(queries: number, keys = queries): Tensor {
  const mask = new Float32Array(queries * keys);
  for (let query = 0; query < queries; query++) {
    mask.fill(forbidden, query * keys + query + keys - queries + 1, (query + 1) * keys);
  }
  return fromData("float32", mask, [queries, keys]);
}

/** softmax(q kᵀ · scale + mask) v for q [batch, heads, queries, size] and k, v [batch, heads, keys, size]. */
export function dotProductAttention(
  q: Value,
  k: Value,
  v: Value,
  { causal = false, mask, scale, dropout: drop }: DotProductOptions = {},
): Value {
  const [, , queries, size] = sizesOf(q, "attention");
  const keys = Number(k.shape[2]);
  let scores = matMul(mul(q, scale ?? 1 / Math.sqrt(size)), transpose(k, [0, 1, 3, 2]));
  if (causal) scores = add(scores, causalMask(queries, keys));
  if (mask !== undefined) scores = add(scores, mask);
  const weights = softmax(scores);
  return matMul(drop === undefined ? weights : dropout(weights, drop.rate, drop.random, drop.name), v);
}

export interface AttentionOptions extends DotProductOptions {
  readonly heads: number;
  /** Heads of keys and values, each shared by heads / keyValueHeads query heads; default `heads`. */
  readonly keyValueHeads?: number;
  /** Rotary position embedding of Llama's layout (halves); positions count from 0. */
  readonly rope?: { readonly theta?: number };
  /** Names of the layers. */
  readonly layers?: { readonly query: string; readonly key: string; readonly value: string; readonly output: string };
}

/** Self-attention over x [batch, length, width], layers q_proj, k_proj, v_proj and o_proj unless named otherwise. */
export function attention(parameters: Parameters, layer: string, x: Value, options: AttentionOptions): Value {
  const { heads, keyValueHeads = heads, rope } = options;
  const { query, key, value, output } = options.layers ?? {
    query: "q_proj",
    key: "k_proj",
    value: "v_proj",
    output: "o_proj",
  };
  if (heads % keyValueHeads !== 0) throw wrongHeads(layer, "keyValueHeads", `a divisor of ${heads}`, keyValueHeads);
  const project = (name: string) => linear(parameters, parameterName(layer, name), x);
  const [q, k, v] = [project(query), project(key), project(value)];
  const attended = inLayer(layer, () => {
    const turned = (each: Value) => (rope === undefined ? each : rotate(each, rope));
    return joinHeads(
      dotProductAttention(
        turned(splitHeads(q, heads, layer)),
        shareHeads(turned(splitHeads(k, keyValueHeads, layer)), heads / keyValueHeads),
        shareHeads(splitHeads(v, keyValueHeads, layer), heads / keyValueHeads),
        options,
      ),
    );
  });
  return linear(parameters, parameterName(layer, output), attended);
}

/**
 * Self-attention with PyTorch's names: in_proj_weight [3 · width, width], in_proj_bias, out_proj. As
 * torch.nn.MultiheadAttention with batch_first.
 */
export function multiheadAttention(
  parameters: Parameters,
  layer: string,
  x: Value,
  options: DotProductOptions & { readonly heads: number },
): Value {
  const joined: Record<string, Value> = {
    weight: parameters[parameterName(layer, "in_proj_weight")],
    bias: parameters[parameterName(layer, "in_proj_bias")],
  };
  if (joined.bias === undefined) delete joined.bias;
  const width = sizesOf(x, layer)[2];
  const attended = inLayer(layer, () => {
    const [q, k, v] = split(linear(joined, "", x), [width, width, width], 2).map((each) =>
      splitHeads(each, options.heads, layer),
    );
    return joinHeads(dotProductAttention(q, k, v, options));
  });
  return linear(parameters, parameterName(layer, "out_proj"), attended);
}

/** [batch, length, heads · size] → [batch, heads, length, size] */
function splitHeads(x: Value, heads: number, layer: string): Value {
  const [batch, length, width] = sizesOf(x, layer);
  if (width % heads !== 0) throw wrongHeads(layer, "heads", `a divisor of ${width}`, heads);
  return transpose(reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

function joinHeads(x: Value): Value {
  const [batch, heads, length, size] = sizesOf(x, "attention");
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * size]);
}

/** Every head `times` times, one behind the other. */
function shareHeads(x: Value, times: number): Value {
  if (times === 1) return x;
  const [batch, heads, length, size] = sizesOf(x, "attention");
  const wide = expand(reshape(x, [batch, heads, 1, length, size]), [batch, heads, times, length, size]);
  return reshape(wide, [batch, heads * times, length, size]);
}

function wrongHeads(layer: string, option: string, expected: string, found: number): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    option,
    problem: `${layer}: the heads do not fit`,
    expected,
    found: `${found}`,
  });
}

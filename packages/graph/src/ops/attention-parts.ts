import { elementCount, fromData, LoomweightError } from "@loomweight/tensor";
import { floatOf, intOf } from "../attributes.ts";
import type { Value } from "../value.ts";
import type { DecomposedCall, Decomposition } from "./decompose.ts";
import { add, erf, mul, sigmoid, sub, tanh } from "./elementwise.ts";
import { gather, slice } from "./indexing.ts";
import { cast, equal, where } from "./logic.ts";
import { matMul } from "./matmul.ts";
import { layerNormalization, simplifiedLayerNormalization } from "./normalize.ts";
import { softmax } from "./reduce.ts";
import { badShape } from "./same-dtype.ts";
import { concat, expand, reshape, split, transpose, unsqueeze } from "./shape.ts";

function sizesOf(call: DecomposedCall, value: Value): readonly number[] {
  if (value.shape.every((size) => typeof size === "number")) return value.shape as readonly number[];
  throw badShape(call, `[${value.shape}] has sizes that are not known`, "Build the graph for concrete sizes.");
}

function refused(call: DecomposedCall, what: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_OP",
    problem: `${call.op} ${what} is left to the runtime: it is not evaluated or differentiated here`,
    node: call.name,
  });
}

/** [batch, length, heads · size] → [batch, heads, length, size]; what has four axes is that already. */
export function toHeads(call: DecomposedCall, x: Value, heads: number): Value {
  if (x.shape.length === 4) return x;
  const [batch, length, width] = sizesOf(call, x);
  return transpose(reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

/** The way back. */
export function fromHeads(x: Value): Value {
  const [batch, heads, length, size] = x.shape as readonly number[];
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * size]);
}

interface Scores {
  readonly scale: number;
  readonly softcap: number;
  /** Boolean (true = attend) or added to the scores; [.., length, total]. */
  readonly masks: readonly Value[];
  /** Query i sees keys up to i + causal; undefined = all. */
  readonly causal?: number;
  /** And no further back than this many. */
  readonly window?: number;
  /** [heads]: a logit beside the keys' that takes probability and gives nothing. */
  readonly sink?: Value;
}

/** Which of `total` keys each of `length` queries sees. */
function visible(length: number, total: number, offset: number, window: number): Value {
  const codes = new Uint8Array(length * total);
  for (let i = 0; i < length; i++) {
    for (let j = 0; j < total; j++) codes[i * total + j] = j <= i + offset && j > i + offset - window ? 1 : 0;
  }
  return fromData("bool", codes, [length, total]);
}

/**
 * softmax(scale · q kᵀ, capped and masked) v for q [batch, heads, length, size], k and v [batch, kv heads, total, size]:
 * the query heads that share a kv head are rows of one product.
 */
function attend(
  call: DecomposedCall,
  q: Value,
  k: Value,
  v: Value,
  { scale, softcap, masks, causal, window = Number.POSITIVE_INFINITY, sink }: Scores,
): { output: Value; raw: Value; probabilities: Value } {
  const [batch, heads, length, size] = sizesOf(call, q);
  const [, kvHeads, total, valueSize] = sizesOf(call, v);
  const rows = [batch, kvHeads, (heads / kvHeads) * length];
  const queries = reshape(mul(q, scale), [...rows, size]);
  const raw = reshape(matMul(queries, transpose(k, [0, 1, 3, 2])), [batch, heads, length, total]);
  let scores = softcap === 0 ? raw : mul(tanh(mul(raw, 1 / softcap)), softcap);
  for (const mask of masks) {
    scores = mask.dtype === "bool" ? where(mask, scores, Number.NEGATIVE_INFINITY) : add(scores, mask);
  }
  if (causal !== undefined) {
    scores = where(visible(length, total, causal, window), scores, Number.NEGATIVE_INFINITY);
  }
  const probabilities = sink === undefined ? softmax(scores) : withSink(scores, sink);
  const output = matMul(reshape(probabilities, [...rows, total]), v);
  return { output: reshape(output, [batch, heads, length, valueSize]), raw, probabilities };
}

function withSink(scores: Value, sink: Value): Value {
  const [batch, heads, length, total] = scores.shape as readonly number[];
  const beside = expand(reshape(cast(sink, scores.dtype), [1, heads, 1, 1]), [batch, heads, length, 1]);
  return slice(softmax(concat([scores, beside], 3)), { starts: [0], ends: [total], axes: [3] });
}

/** ONNX's Attention (opset 23 and 24) as products and a softmax. */
export const attentionByParts: Decomposition = (call) => {
  const [q, k, v, mask, pastKey, pastValue, lengths] = call.inputs as readonly (Value | undefined)[];
  if (q === undefined || k === undefined || v === undefined) throw badShape(call, "query, key and value are needed");
  if (lengths !== undefined) throw refused(call, "with lengths of keys (nonpad_kv_seqlen)");
  const packed = q.shape.length === 3;
  const [heads, kvHeads] = [intOf(call, "q_num_heads", 0), intOf(call, "kv_num_heads", 0)];
  const queries = toHeads(call, q, heads);
  const [fresh, freshValues] = [toHeads(call, k, kvHeads), toHeads(call, v, kvHeads)];
  const keys = pastKey === undefined ? fresh : concat([pastKey, fresh], 2);
  const values = pastValue === undefined ? freshValues : concat([pastValue, freshValues], 2);
  const past = pastKey === undefined ? 0 : sizesOf(call, pastKey)[2];
  const size = sizesOf(call, queries)[3];
  const { output, raw, probabilities } = attend(call, queries, keys, values, {
    scale: floatOf(call, "scale", 1 / Math.sqrt(size)),
    softcap: floatOf(call, "softcap", 0),
    masks: mask === undefined ? [] : [mask],
    causal: intOf(call, "is_causal", 0) === 1 ? past : undefined,
  });
  const mode = intOf(call, "qk_matmul_output_mode", 0);
  const scores = mode === 0 ? raw : mode === 3 ? probabilities : undefined;
  return [packed ? fromHeads(output) : output, keys, values, scores];
};

/** x [batch, heads, length, size] turned by angles given as cos and sin [batch or 1, 1, length, rotated / 2]. */
function rotate(call: DecomposedCall, x: Value, cos: Value, sin: Value, interleaved: boolean): Value {
  const [batch, heads, length, size] = sizesOf(call, x);
  const half = sizesOf(call, cos)[3];
  const turned = 2 * half;
  const [part, rest] = turned === size ? [x, undefined] : split(x, [turned, size - turned], 3);
  const pairs = interleaved ? reshape(part, [batch, heads, length, half, 2]) : part;
  const [a, b] = interleaved
    ? split(pairs, [1, 1], 4).map((each) => reshape(each, [batch, heads, length, half]))
    : split(pairs, [half, half], 3);
  const left = sub(mul(a, cos), mul(b, sin));
  const right = add(mul(a, sin), mul(b, cos));
  const out = interleaved
    ? reshape(concat([unsqueeze(left, [4]), unsqueeze(right, [4])], 4), [batch, heads, length, turned])
    : concat([left, right], 3);
  return rest === undefined ? out : concat([out, rest], 3);
}

/** Rows of a table [positions, half] for positions [batch, length], as [batch, 1, length, half]. */
const atPositions = (table: Value, positions: Value): Value => unsqueeze(gather(table, positions), [1]);

/** Positions offset, offset + 1, … as rows of a table: [1, 1, length, half]. */
const fromStart = (table: Value, length: number): Value =>
  unsqueeze(slice(table, { starts: [0], ends: [length], axes: [0] }), [0, 1]);

/** ONNX's RotaryEmbedding (opset 23): caches [positions, half], or [batch, length, half] without position_ids. */
export const rotaryByParts: Decomposition = (call) => {
  const [x, cos, sin, positions] = call.inputs as readonly Value[];
  const packed = x.shape.length === 3;
  const heads = toHeads(call, x, intOf(call, "num_heads", 1));
  const at = (table: Value) => (positions === undefined ? unsqueeze(table, [1]) : atPositions(table, positions));
  const out = rotate(call, heads, at(cos), at(sin), intOf(call, "interleaved", 0) === 1);
  return [packed ? fromHeads(out) : out];
};

/** onnxruntime's: x, position_ids ([batch, length], or an offset [1]), caches [positions, half]. */
export const contribRotaryByParts: Decomposition = (call) => {
  const [x, positions, cos, sin] = call.inputs as readonly Value[];
  const packed = x.shape.length === 3;
  const rotated = 2 * sizesOf(call, cos)[1];
  const width = sizesOf(call, x)[2];
  const count = intOf(call, "num_heads", 0);
  const heads = toHeads(call, x, count > 0 ? count : width / rotated);
  const length = sizesOf(call, heads)[2];
  let at = positions;
  if (positions.shape.length === 1) {
    const steps = fromData(
      "int64",
      BigInt64Array.from({ length }, (_, i) => BigInt(i)),
      [1, length],
    );
    at = add(steps, positions);
  }
  const out = rotate(call, heads, atPositions(cos, at), atPositions(sin, at), intOf(call, "interleaved", 0) === 1);
  return [packed ? fromHeads(out) : out];
};

/** onnxruntime's MultiHeadAttention, for separate query, key and value. */
export const multiHeadByParts: Decomposition = (call) => {
  const [query, key, value, bias, padding, scoreBias, pastKey, pastValue] = call.inputs as readonly (
    | Value
    | undefined
  )[];
  if (query === undefined || key === undefined || value === undefined) throw refused(call, "with packed inputs");
  const heads = intOf(call, "num_heads", 1);
  const width = sizesOf(call, query)[2];
  const parts = bias && split(bias, [width, width, sizesOf(call, bias)[0] - 2 * width], 0);
  const [q, k, v] = [query, key, value].map((each, index) =>
    toHeads(call, parts === undefined || each.shape.length === 4 ? each : add(each, parts[index]), heads),
  );
  const keys = pastKey === undefined ? k : concat([pastKey, k], 2);
  const values = pastValue === undefined ? v : concat([pastValue, v], 2);
  const [, , length, size] = sizesOf(call, q);
  const total = sizesOf(call, keys)[2];
  const masks: Value[] = [];
  if (scoreBias !== undefined) masks.push(scoreBias);
  if (padding !== undefined) {
    if (padding.shape.length === 1) throw refused(call, "with a mask of lengths");
    const filled = mul(cast(equal(padding, 0), q.dtype), floatOf(call, "mask_filter_value", -10000));
    masks.push(padding.shape.length === 2 ? unsqueeze(filled, [1, 2]) : unsqueeze(filled, [1]));
  }
  const given = floatOf(call, "scale", 0);
  const { output } = attend(call, q, keys, values, {
    scale: given === 0 ? 1 / Math.sqrt(size) : given,
    softcap: 0,
    masks,
    causal: intOf(call, "unidirectional", 0) === 1 ? total - length : undefined,
  });
  return [fromHeads(output), keys, values];
};

/**
 * onnxruntime's GroupQueryAttention without a past: causal over all tokens of the batch. Lengths (`seqlens_k`) need no
 * mask then: tokens after a row's end come later than all that see them.
 */
export const groupQueryByParts: Decomposition = (call) => {
  const [query, key, value, pastKey, , , , cos, sin, positions, scoreBias, sink] = call.inputs as readonly (
    | Value
    | undefined
  )[];
  if (query === undefined) throw badShape(call, "the query is missing");
  if (pastKey !== undefined && elementCount(sizesOf(call, pastKey)) > 0) throw refused(call, "with a filled cache");
  const [heads, kvHeads] = [intOf(call, "num_heads", 1), intOf(call, "kv_num_heads", 1)];
  const [, length, width] = sizesOf(call, query);
  const size = key === undefined ? width / (heads + 2 * kvHeads) : width / heads;
  const apart =
    key === undefined || value === undefined
      ? split(query, [heads * size, kvHeads * size, kvHeads * size], 2)
      : [query, key, value];
  let [q, k, v] = apart.map((each, index) => toHeads(call, each, index === 0 ? heads : kvHeads));
  if (intOf(call, "do_rotary", 0) === 1) {
    if (cos === undefined || sin === undefined) throw badShape(call, "do_rotary needs the caches");
    const at = (table: Value) => (positions === undefined ? fromStart(table, length) : atPositions(table, positions));
    const interleaved = intOf(call, "rotary_interleaved", 0) === 1;
    [q, k] = [q, k].map((each) => rotate(call, each, at(cos), at(sin), interleaved));
  }
  const [scale, window] = [floatOf(call, "scale", 0), intOf(call, "local_window_size", -1)];
  const smooth = intOf(call, "smooth_softmax", 0) === 1;
  const zeroSink = smooth ? fromData("float32", new Float32Array(heads), [heads]) : undefined;
  const { output } = attend(call, q, k, v, {
    scale: scale === 0 ? 1 / Math.sqrt(size) : scale,
    softcap: floatOf(call, "softcap", 0),
    masks: scoreBias === undefined ? [] : [scoreBias],
    causal: 0,
    window: window < 1 ? undefined : window,
    sink: sink ?? zeroSink,
  });
  return [fromHeads(output), k, v];
};

/** sum = x + skip (+ bias) and its normalization: outputs y and, as the fourth, the sum. */
export const skipLayerNormByParts: Decomposition = (call) => {
  const [x, skip, scale, shift, bias] = call.inputs as readonly (Value | undefined)[];
  const sum = summed(x as Value, skip as Value, bias);
  const y = layerNormalization(sum, scale as Value, shift, { epsilon: floatOf(call, "epsilon", 1e-12) });
  return [y, undefined, undefined, sum];
};

export const skipSimplifiedByParts: Decomposition = (call) => {
  const [x, skip, scale, bias] = call.inputs as readonly (Value | undefined)[];
  const sum = summed(x as Value, skip as Value, bias);
  const y = simplifiedLayerNormalization(sum, scale as Value, { epsilon: floatOf(call, "epsilon", 1e-12) });
  return [y, undefined, undefined, sum];
};

function summed(x: Value, skip: Value, bias: Value | undefined): Value {
  const sum = add(x, skip);
  return bias === undefined ? sum : add(sum, bias);
}

/** alpha · A′ B′ over the last two axes, where ′ may transpose. */
export const fusedMatMulByParts: Decomposition = (call) => {
  const [a, b] = call.inputs as readonly Value[];
  if (intOf(call, "transBatchA", 0) !== 0 || intOf(call, "transBatchB", 0) !== 0) {
    throw refused(call, "with transposed batches");
  }
  const turned = (x: Value, attribute: string) => {
    const rank = x.shape.length;
    if (intOf(call, attribute, 0) === 0 || rank < 2) return x;
    const perm = Array.from({ length: rank }, (_, axis) => axis);
    [perm[rank - 2], perm[rank - 1]] = [rank - 1, rank - 2];
    return transpose(x, perm);
  };
  const alpha = floatOf(call, "alpha", 1);
  const product = matMul(turned(a, "transA"), turned(b, "transB"));
  return [alpha === 1 ? product : mul(product, alpha)];
};

/** x · σ(alpha x) */
export const quickGeluByParts: Decomposition = (call) => {
  const x = call.inputs[0] as Value;
  return [mul(x, sigmoid(mul(x, floatOf(call, "alpha", 1.702))))];
};

/** The tanh form of gelu(x + bias), as 2 σ − 1 = tanh: x σ(2u) */
export const fastGeluByParts: Decomposition = (call) => {
  const [given, bias] = call.inputs as readonly (Value | undefined)[];
  const x = bias === undefined ? (given as Value) : add(given as Value, bias);
  const cubic = add(mul(mul(x, x), 2 * 0.7978845608 * 0.044715), 2 * 0.7978845608);
  return [mul(x, sigmoid(mul(x, cubic)))];
};

/** gelu(x + bias) by erf */
export const biasGeluByParts: Decomposition = (call) => {
  const x = add(call.inputs[0] as Value, call.inputs[1] as Value);
  return [mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1))];
};

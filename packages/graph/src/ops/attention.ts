import type { Tensor } from "@loomweight/tensor";
import { attributes, float, floatOf, int, intOf } from "../attributes.ts";
import { addDims, divideExactly, multiplyDims, unknownDim } from "../dims.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { erf } from "../evaluate/special.ts";
import { apply, applyOne, contrib, defineOps, type OpRule, ruleOf, type Sample, type ValueType } from "../op.ts";
import type { Dim, Value } from "../value.ts";
import {
  contribRotaryByParts,
  fusedMatMulByParts,
  groupQueryByParts,
  multiHeadByParts,
  skipLayerNormByParts,
} from "./attention-parts.ts";
import { byParts } from "./decompose.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";
import { attributeNumber } from "./unary.ts";

const plain = ({ dtype, shape }: ValueType): ValueType => ({ dtype, shape });

/** Activations of x plus a bias along the last axis. */
function activation(
  f: (x: number, alpha: number) => number,
  bias: "none" | "optional" | "required",
  samples: readonly Sample[],
): OpRule {
  return {
    inputs: [bias === "required" ? 2 : 1, bias === "none" ? 1 : 2],
    infer(call) {
      requireFloat(call, 0);
      sameDtype(call);
      return [plain(inputOf(call, 0))];
    },
    evaluate(call) {
      const [x, shift] = call.inputs as [Tensor, Tensor | undefined];
      const data = elementsOf(x);
      const added = shift && elementsOf(shift);
      const alpha = floatOf(call, "alpha", 1.702);
      const out = data.map((value, i) => f(added === undefined ? value : value + added[i % added.length], alpha));
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples,
  };
}

const fast = (x: number) => 0.5 * x * (1 + Math.tanh(0.7978845608 * (x + 0.044715 * x ** 3)));

/** Cache of keys or values after this step: [batch, heads, past + new, head size]. */
function presentShape(past: ValueType | undefined, key: ValueType, heads: number, headSize: Dim): Dim[] {
  const [batch, length] = key.shape;
  // onnxruntime sizes the cache by what the past holds; with an empty or growing past it is their sum.
  return [batch, heads, past === undefined ? length : addDims(past.shape[2], length), headSize];
}

/** onnxruntime's fused operators, domain com.microsoft. They run in graphs only, but for the activations. */
export const attentionOps = /* @__PURE__ */ defineOps({
  QuickGelu: activation((x, alpha) => x / (1 + Math.exp(-alpha * x)), "none", [{ inputs: [[2, 5]] }]),
  FastGelu: activation(fast, "optional", [{ inputs: [[2, 5]] }, { inputs: [[2, 5], [5]] }]),
  BiasGelu: activation((x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)), "required", [{ inputs: [[2, 5], [5]] }]),
  SkipSimplifiedLayerNormalization: {
    inputs: [3, 4],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      sameDtype(call);
      const statistics: ValueType = { dtype: "float32", shape: [...shape.slice(0, -1), 1] };
      return [{ dtype, shape }, statistics, statistics, { dtype, shape }].slice(0, Math.max(1, call.outputs));
    },
    evaluate(call) {
      const [x, skip, scale, bias] = (call.inputs as (Tensor | undefined)[]).map((each) => each && elementsOf(each));
      const { dtype, shape } = call.types[0];
      const [a, b, gain] = [x as Float64Array, skip as Float64Array, scale as Float64Array];
      const width = gain.length;
      const epsilon = attributeNumber(call, "epsilon", 1e-12);
      const sum = a.map((value, i) => value + b[i % b.length] + (bias?.[i % width] ?? 0));
      const out = new Float64Array(sum.length);
      const inverses = new Float64Array(sum.length / width);
      for (let start = 0; start < sum.length; start += width) {
        let square = 0;
        for (let i = 0; i < width; i++) square += sum[start + i] ** 2;
        const inverse = 1 / Math.sqrt(square / width + epsilon);
        inverses[start / width] = inverse;
        for (let i = 0; i < width; i++) out[start + i] = sum[start + i] * inverse * gain[i];
      }
      const outputs = [tensorOf(out, shape, dtype)];
      if (call.outputs > 1) {
        const statistics = tensorOf(inverses, [...shape.slice(0, -1), 1], "float32");
        outputs.push(statistics as Tensor as never, statistics as Tensor as never, tensorOf(sum, shape, dtype));
      }
      return outputs.slice(0, call.outputs);
    },
    samples: [
      { inputs: [[2, 3, 8], [2, 3, 8], [8]] },
      { inputs: [[2, 3, 8], [2, 3, 8], [8]], attributes: { epsilon: float(0.1) } },
    ],
  },
  SkipLayerNormalization: {
    inputs: [3, 5],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      const statistics: ValueType = { dtype: "float32", shape: [...shape.slice(0, -1), 1] };
      return [{ dtype, shape }, statistics, statistics, { dtype, shape }].slice(0, Math.max(1, call.outputs));
    },
    evaluate: byParts(skipLayerNormByParts),
    samples: [{ inputs: [[2, 3, 8], [2, 3, 8], [8], [8]] }],
  },
  RotaryEmbedding: {
    inputs: [4, 4],
    infer(call) {
      requireFloat(call, 0);
      return [plain(inputOf(call, 0))];
    },
    evaluate: byParts(contribRotaryByParts),
    samples: [
      {
        inputs: [[1, 2, 3, 8], { shape: [1, 3], dtype: "int64", values: [0, 1, 2] }, [4, 4], [4, 4]],
        constants: [],
      },
    ],
  },
  GroupQueryAttention: {
    inputs: [1, 16], // with packed queries the second and third are left out
    infer(call) {
      const query = inputOf(call, 0);
      if (call.inputs[5] === undefined || call.inputs[6] === undefined) {
        throw badShape(call, "seqlens_k or total_sequence_length is missing");
      }
      const heads = intOf(call, "num_heads", 0);
      const kvHeads = intOf(call, "kv_num_heads", 0);
      if (heads < 1 || kvHeads < 1 || heads % kvHeads !== 0) {
        throw badShape(call, `${heads} heads cannot share ${kvHeads} key/value heads`);
      }
      const packed = call.inputs[1] === undefined;
      const [batch, length, width] = query.shape;
      const headSize = divideExactly(width, packed ? heads + 2 * kvHeads : heads);
      if (headSize === undefined) throw badShape(call, `the query's width ${width} is no multiple of its heads`);
      const newKeys: ValueType = packed ? { dtype: query.dtype, shape: [batch, length] } : inputOf(call, 1);
      return [
        { dtype: query.dtype, shape: [batch, length, multiplyDims(heads, headSize)] },
        { dtype: query.dtype, shape: presentShape(call.inputs[3], newKeys, kvHeads, headSize) },
        { dtype: query.dtype, shape: presentShape(call.inputs[4], newKeys, kvHeads, headSize) },
      ].slice(0, Math.max(1, call.outputs));
    },
    evaluate: byParts(groupQueryByParts),
    samples: [
      {
        inputs: [
          [1, 3, 32],
          [1, 3, 16],
          [1, 3, 16],
          [1, 1, 0, 16],
          [1, 1, 0, 16],
          { shape: [1], dtype: "int32", values: [2] },
          { shape: [], dtype: "int32", values: [3] },
        ],
        attributes: { num_heads: int(2), kv_num_heads: int(1) },
        outputs: 3,
        constants: [],
      },
    ],
  },
  MultiHeadAttention: {
    inputs: [1, 10],
    infer(call) {
      const query = inputOf(call, 0);
      const heads = intOf(call, "num_heads", 1);
      if (query.shape.length !== 3)
        throw badShape(call, "packed queries are not supported", "Give query, key and value of rank 3.");
      const [batch, length, width] = query.shape;
      const value = call.inputs[2] ?? query;
      const headSize = divideExactly(width, heads) ?? unknownDim;
      const present = (past: ValueType | undefined) => ({
        dtype: query.dtype,
        shape: presentShape(past, call.inputs[1] ?? query, heads, headSize),
      });
      return [
        { dtype: query.dtype, shape: [batch, length, value.shape.length === 3 ? value.shape[2] : width] },
        present(call.inputs[6]),
        present(call.inputs[7]),
      ].slice(0, Math.max(1, call.outputs));
    },
    evaluate: byParts(multiHeadByParts),
    samples: [
      {
        inputs: [
          [1, 3, 8],
          [1, 4, 8],
          [1, 4, 8],
        ],
        attributes: { num_heads: int(2) },
      },
    ],
  },
  FusedMatMul: {
    inputs: [2, 2],
    infer(call) {
      const turned = (index: number, attribute: string): readonly Dim[] => {
        const { shape } = inputOf(call, index);
        return intOf(call, attribute, 0) === 1
          ? [...shape.slice(0, -2), shape[shape.length - 1], shape[shape.length - 2]]
          : shape;
      };
      const [a, b] = [turned(0, "transA"), turned(1, "transB")];
      return [
        {
          dtype: sameDtype(call),
          shape: [...(a.length >= b.length ? a : b).slice(0, -2), a[a.length - 2], b[b.length - 1]],
        },
      ];
    },
    evaluate: byParts(fusedMatMulByParts),
    samples: [
      {
        inputs: [
          [2, 3],
          [4, 3],
        ],
        attributes: { transB: int(1), alpha: float(0.5) },
      },
    ],
  },
});

/** x · sigmoid(alpha · x); alpha default 1.702 */
export function quickGelu(x: Value, alpha = 1.702): Value {
  return applyOne(ruleOf(attentionOps, "QuickGelu", contrib), [x], { alpha: float(alpha) });
}

/** The tanh form of gelu(x + bias) */
export function fastGelu(x: Value, bias?: Value): Value {
  return applyOne(ruleOf(attentionOps, "FastGelu", contrib), [x, bias]);
}

/** gelu(x + bias) by erf */
export function biasGelu(x: Value, bias: Value): Value {
  return applyOne(ruleOf(attentionOps, "BiasGelu", contrib), [x, bias]);
}

/** sum = x + skip (+ bias); y = sum / √(mean(sum²) + ε) · scale */
export function skipSimplifiedLayerNormalization(
  x: Value,
  skip: Value,
  scale: Value,
  { epsilon = 1e-5, bias }: { readonly epsilon?: number; readonly bias?: Value } = {},
): { y: Value; sum: Value } {
  const outputs = apply(ruleOf(attentionOps, "SkipSimplifiedLayerNormalization", contrib), [x, skip, scale, bias], {
    attributes: { epsilon: float(epsilon) },
    outputs: 4,
  });
  return { y: outputs[0], sum: outputs[3] };
}

/** onnxruntime's alpha · A′ · B′ over the last two axes, where ′ may transpose: a product with a matrix as it is stored. */
export function fusedMatMul(
  a: Value,
  b: Value,
  options: { readonly transA?: boolean; readonly transB?: boolean; readonly alpha?: number } = {},
): Value {
  const { transA = false, transB = false, alpha = 1 } = options;
  return applyOne(ruleOf(attentionOps, "FusedMatMul", contrib), [a, b], {
    transA: int(transA ? 1 : 0),
    transB: int(transB ? 1 : 0),
    alpha: float(alpha),
  });
}

/**
 * Rotates x [batch, heads, length, head size] or [batch, length, width] by positions [batch, length] (or [1]: an
 * offset) with tables [positions, head size / 2].
 */
export function rotaryEmbedding(
  x: Value,
  positions: Value,
  cosTable: Value,
  sinTable: Value,
  options: { readonly interleaved?: boolean; readonly heads?: number; readonly rotaryDim?: number } = {},
): Value {
  const { interleaved = false, heads, rotaryDim } = options;
  return applyOne(
    ruleOf(attentionOps, "RotaryEmbedding", contrib),
    [x, positions, cosTable, sinTable],
    attributes({
      interleaved: interleaved ? int(1) : undefined,
      num_heads: heads === undefined ? undefined : int(heads),
      rotary_embedding_dim: rotaryDim === undefined ? undefined : int(rotaryDim),
    }),
  );
}

export interface GroupQueryAttentionInputs {
  /** [batch, length, heads · head size]; packed with key and value where those are left out. */
  readonly query: Value;
  readonly key?: Value;
  readonly value?: Value;
  /** [batch, kv heads, past length, head size] */
  readonly pastKey?: Value;
  readonly pastValue?: Value;
  /** int32 [batch]: total length − 1 */
  readonly seqlensK: Value;
  /** int32 scalar */
  readonly totalSequenceLength: Value;
  /** [positions, head size / 2]; the fused rotation needs a head size that 16 divides. */
  readonly cosCache?: Value;
  readonly sinCache?: Value;
  /** int64 [batch, length] */
  readonly positionIds?: Value;
  /** [batch or 1, heads or 1, length, total length], added to the scores: needed for left-padded batches. */
  readonly attentionBias?: Value;
  /** [heads] */
  readonly headSink?: Value;
}

export interface GroupQueryAttentionOptions {
  readonly heads: number;
  readonly kvHeads: number;
  /** Default 1 / √(head size). */
  readonly scale?: number;
  /** Tokens a query sees, itself included; default all. */
  readonly localWindowSize?: number;
  readonly softcap?: number;
  /** Rotate query and key by the caches. */
  readonly rotary?: boolean;
  readonly rotaryInterleaved?: boolean;
}

/** onnxruntime's causal attention with a cache, several query heads to a key/value head. */
export function groupQueryAttention(
  inputs: GroupQueryAttentionInputs,
  options: GroupQueryAttentionOptions,
): { output: Value; presentKey: Value; presentValue: Value } {
  const { query, key, value, pastKey, pastValue, seqlensK, totalSequenceLength } = inputs;
  const { cosCache, sinCache, positionIds, attentionBias, headSink } = inputs;
  const { heads, kvHeads, scale, localWindowSize, softcap, rotary = false, rotaryInterleaved = false } = options;
  const operands = [
    query,
    key,
    value,
    pastKey,
    pastValue,
    seqlensK,
    totalSequenceLength,
    cosCache,
    sinCache,
    positionIds,
    attentionBias,
    headSink,
  ];
  const [output, presentKey, presentValue] = apply(ruleOf(attentionOps, "GroupQueryAttention", contrib), operands, {
    attributes: attributes({
      num_heads: int(heads),
      kv_num_heads: int(kvHeads),
      scale: scale === undefined ? undefined : float(scale),
      local_window_size: localWindowSize === undefined ? undefined : int(localWindowSize),
      softcap: softcap === undefined ? undefined : float(softcap),
      do_rotary: rotary ? int(1) : undefined,
      rotary_interleaved: rotaryInterleaved ? int(1) : undefined,
    }),
    outputs: 3,
  });
  return { output, presentKey, presentValue };
}

export interface MultiHeadAttentionOptions {
  readonly heads: number;
  readonly scale?: number;
  readonly bias?: Value;
  readonly keyPaddingMask?: Value;
  /** [batch or 1, heads or 1, length, total length], added to the scores */
  readonly attentionBias?: Value;
  readonly pastKey?: Value;
  readonly pastValue?: Value;
  readonly causal?: boolean;
}

/** onnxruntime's attention of query, key, value [batch, length, width]; presents only where a past is given. */
export function multiHeadAttention(
  query: Value,
  key: Value,
  value: Value,
  options: MultiHeadAttentionOptions,
): { output: Value; presentKey?: Value; presentValue?: Value } {
  const { heads, scale, bias, keyPaddingMask, attentionBias, pastKey, pastValue, causal = false } = options;
  const operands = [query, key, value, bias, keyPaddingMask, attentionBias, pastKey, pastValue];
  const [output, presentKey, presentValue] = apply(ruleOf(attentionOps, "MultiHeadAttention", contrib), operands, {
    attributes: attributes({
      num_heads: int(heads),
      scale: scale === undefined ? undefined : float(scale),
      unidirectional: causal ? int(1) : undefined,
    }),
    outputs: pastKey === undefined ? 1 : 3,
  });
  return { output, presentKey, presentValue };
}

import { attributes, float, int, intOf } from "../attributes.ts";
import { addDims, divideExactly, multiplyDims, unknownDim } from "../dims.ts";
import { apply, defineOps, type OpCall, ruleOf, type ValueType } from "../op.ts";
import type { Dim, Value } from "../value.ts";
import { attentionByParts, rotaryByParts } from "./attention-parts.ts";
import { byParts } from "./decompose.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";

/** Heads, length and size of a query, key or value of three or four axes. */
function headsOf(call: OpCall, index: number, attribute: string): { heads: Dim; length: Dim; size: Dim } {
  const { shape } = inputOf(call, index);
  if (shape.length === 4) return { heads: shape[1], length: shape[2], size: shape[3] };
  if (shape.length !== 3) throw badShape(call, `[${shape}] has neither three axes nor four`);
  const heads = intOf(call, attribute, 0);
  if (heads < 1) throw badShape(call, `three axes need the attribute ${attribute}`);
  const size = divideExactly(shape[2], heads);
  if (size === undefined && typeof shape[2] === "number")
    throw badShape(call, `${shape[2]} is no multiple of ${heads} heads`);
  return { heads, length: shape[1], size: size ?? unknownDim };
}

/** ONNX's own attention and rotary embedding. */
export const scaledAttentionOps = /* @__PURE__ */ defineOps({
  /** Opset 23 and 24. No WebGPU kernel. */
  Attention: {
    inputs: [3, 7],
    infer(call) {
      requireFloat(call, 0);
      const dtype = sameDtype(call, [0, 1, 2]);
      const { shape } = inputOf(call, 0);
      const [q, k, v] = [
        headsOf(call, 0, "q_num_heads"),
        headsOf(call, 1, "kv_num_heads"),
        headsOf(call, 2, "kv_num_heads"),
      ];
      if (typeof q.size === "number" && typeof k.size === "number" && q.size !== k.size) {
        throw badShape(call, `heads of ${q.size} cannot meet keys of ${k.size}`);
      }
      const [batch] = shape;
      const past = call.inputs[4]?.shape[2];
      const total = past === undefined ? k.length : addDims(past, k.length);
      const output =
        shape.length === 3 ? [batch, q.length, multiplyDims(q.heads, v.size)] : [batch, q.heads, q.length, v.size];
      const types: ValueType[] = [
        { dtype, shape: output },
        { dtype, shape: [batch, k.heads, total, k.size] },
        { dtype, shape: [batch, v.heads, total, v.size] },
        { dtype, shape: [batch, q.heads, q.length, total] },
      ];
      return types.slice(0, Math.max(1, call.outputs));
    },
    evaluate: byParts(attentionByParts),
    samples: [
      {
        inputs: [
          [1, 4, 3, 8],
          [1, 2, 3, 8],
          [1, 2, 3, 8],
        ],
        attributes: { is_causal: int(1) },
      },
      {
        inputs: [
          [2, 3, 8],
          [2, 4, 8],
          [2, 4, 8],
          [3, 4],
        ],
        attributes: { q_num_heads: int(2), kv_num_heads: int(2), scale: float(0.3) },
      },
    ],
  },
});

/** ONNX's RotaryEmbedding of opset 23; onnxruntime's of older opsets is another operator. */
export const standardRotaryOps = /* @__PURE__ */ defineOps({
  RotaryEmbedding: {
    inputs: [3, 4],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      return [{ dtype, shape }];
    },
    evaluate: byParts(rotaryByParts),
    samples: [
      { inputs: [[1, 2, 3, 8], [5, 4], [5, 4], { shape: [1, 3], dtype: "int64", values: [0, 1, 4] }], constants: [] },
      {
        inputs: [
          [2, 3, 8],
          [2, 3, 2],
          [2, 3, 2],
        ],
        attributes: { num_heads: int(2), interleaved: int(1) },
      },
    ],
  },
});

export interface AttentionOptions {
  /** Boolean (true = attend) or added to the scores, broadcast to [batch, heads, length, total]. */
  readonly mask?: Value;
  readonly causal?: boolean;
  /** Default 1 / √(head size). */
  readonly scale?: number;
  readonly softcap?: number;
  readonly pastKey?: Value;
  readonly pastValue?: Value;
  /** For three axes [batch, length, heads · size]. */
  readonly heads?: number;
  readonly kvHeads?: number;
}

/** softmax(scale · q kᵀ) v as one operator of ONNX opset 24. No WebGPU kernel. */
export function attention(
  query: Value,
  key: Value,
  value: Value,
  { mask, causal = false, scale, softcap, pastKey, pastValue, heads, kvHeads = heads }: AttentionOptions = {},
): { output: Value; presentKey: Value; presentValue: Value } {
  const operands = [query, key, value, mask, pastKey, pastValue];
  const [output, presentKey, presentValue] = apply(ruleOf(scaledAttentionOps, "Attention"), operands, {
    attributes: attributes({
      is_causal: causal ? int(1) : undefined,
      scale: scale === undefined ? undefined : float(scale),
      softcap: softcap === undefined ? undefined : float(softcap),
      q_num_heads: heads === undefined ? undefined : int(heads),
      kv_num_heads: kvHeads === undefined ? undefined : int(kvHeads),
    }),
    outputs: 3,
  });
  return { output, presentKey, presentValue };
}

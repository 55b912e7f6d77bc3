import { type DType, dtypeFacts, elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { intOf, text, textOf } from "../attributes.ts";
import { broadcast } from "../dims.ts";
import { bigElementsOf, castTensor, elementsOf, isBig, tensorOf } from "../evaluate/numbers.ts";
import { broadcastStride, walkRows } from "../evaluate/walk.ts";
import { dtypeOfOnnx } from "../onnx-dtype.ts";
import { type ConstantCall, defineOps, type OpCall, type OpRule, type Sample } from "../op.ts";
import { badShape, dtypeMismatch, inputOf, sameDtype } from "./same-dtype.ts";

function requireWhole(call: OpCall): DType {
  const dtype = sameDtype(call);
  const { kind } = dtypeFacts[dtype];
  if (kind !== "integer" && kind !== "unsigned") throw dtypeMismatch(call, "integers", dtype);
  return dtype;
}

/** z = f(x, y) on the bits of integers, broadcast. */
function bitwise(
  f: (a: bigint, b: bigint, call: ConstantCall, bits: number) => bigint,
  samples: readonly Sample[],
): OpRule {
  return {
    inputs: [2, 2],
    infer: (call) => [
      { dtype: requireWhole(call), shape: broadcast([inputOf(call, 0).shape, inputOf(call, 1).shape], call.op) },
    ],
    evaluate(call) {
      const [a, b] = call.inputs as [Tensor, Tensor];
      const { dtype, shape } = call.types[0];
      const [x, y] = [codesOf(a), codesOf(b)];
      const out = new Array<bigint>(elementCount(shape));
      const { bits } = dtypeFacts[dtype];
      walkRows(shape, [broadcastStride(a.shape, shape), broadcastStride(b.shape, shape)], (o, count, at, step) => {
        for (let i = 0; i < count; i++) out[o + i] = f(x[at[0] + i * step[0]], y[at[1] + i * step[1]], call, bits);
      });
      return [wholeTensor(out, shape, dtype)];
    },
    samples,
  };
}

function codesOf(tensor: Tensor): bigint[] {
  return isBig(tensor.dtype) ? [...bigElementsOf(tensor)] : Array.from(elementsOf(tensor), BigInt);
}

function wholeTensor(values: readonly bigint[], shape: readonly number[], dtype: DType): Tensor {
  if (dtype === "int64") return fromData<DType>(dtype, BigInt64Array.from(values), shape);
  if (dtype === "uint64") return fromData<DType>(dtype, BigUint64Array.from(values), shape);
  return tensorOf(Float64Array.from(values, Number), shape, dtype);
}

const pair = (dtype: DType, a: readonly number[], b: readonly number[]): Sample => ({
  inputs: [
    { shape: [a.length], dtype, values: a },
    { shape: [b.length], dtype, values: b },
  ],
  constants: [],
});
const pairs = [pair("int32", [6, -7, 255], [3, 5, -1]), pair("uint8", [6, 200], [3])];

/** Operators on bits, and those that read the bits of one dtype as another. */
export const bitOps = /* @__PURE__ */ defineOps({
  BitwiseAnd: bitwise((a, b) => a & b, pairs),
  BitwiseOr: bitwise((a, b) => a | b, pairs),
  BitwiseXor: bitwise((a, b) => a ^ b, pairs),
  BitwiseNot: {
    inputs: [1, 1],
    infer: (call) => [{ dtype: requireWhole(call), shape: inputOf(call, 0).shape }],
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const { bits, kind } = dtypeFacts[x.dtype];
      const flip = kind === "unsigned" ? (value: bigint) => BigInt.asUintN(bits, ~value) : (value: bigint) => ~value;
      return [wholeTensor(codesOf(x).map(flip), x.shape, x.dtype)];
    },
    samples: [{ inputs: [{ shape: [3], dtype: "int32", values: [0, -1, 7] }] }],
  },
  BitShift: bitwise(
    (a, b, call, bits) => {
      if (b >= BigInt(bits)) return 0n;
      return textOf(call, "direction", "LEFT") === "LEFT" ? BigInt.asUintN(bits, a << b) : a >> b;
    },
    [
      { ...pair("uint8", [1, 200, 7], [1, 1, 3]), attributes: { direction: text("LEFT") } },
      { ...pair("uint32", [16, 9], [2]), attributes: { direction: text("RIGHT") } },
    ],
  ),
  CastLike: {
    inputs: [2, 2],
    infer: (call) => [{ dtype: inputOf(call, 1).dtype, shape: inputOf(call, 0).shape }],
    evaluate(call) {
      const [x, like] = call.inputs as [Tensor, Tensor];
      return [castTensor(x, like.dtype, intOf(call, "saturate", 1) === 1)];
    },
    samples: [{ inputs: [[2, 3], { shape: [1], dtype: "int64", values: [1] }] }],
  },
  /** Opset 26: the same bits as another dtype of the same width. */
  BitCast: {
    inputs: [1, 1],
    infer(call) {
      const from = inputOf(call, 0);
      const dtype = dtypeOfOnnx(intOf(call, "to", 0), call.name);
      if (dtypeFacts[dtype].bits !== dtypeFacts[from.dtype].bits) {
        throw badShape(call, `${from.dtype} and ${dtype} are not of one width`);
      }
      return [{ dtype, shape: from.shape }];
    },
    samples: [],
  },
});

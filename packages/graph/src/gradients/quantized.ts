import { contiguousData, type DType, elementCount, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { intOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { numbersTensor } from "../evaluate/numbers.ts";
import { concreteShape, reshapeLike } from "../gradient/algebra.ts";
import { defineGradients, type GradientCall, operand } from "../gradient/rule.ts";
import { parameter } from "../inputs.ts";
import { contrib, makeNode } from "../op.ts";
import { mul, sub } from "../ops/elementwise.ts";
import { cast } from "../ops/logic.ts";
import { gemm } from "../ops/matmul.ts";
import { dequantizeLinear } from "../ops/quantized.ts";
import { reduceSum } from "../ops/reduce.ts";
import { reshape } from "../ops/shape.ts";
import { scopedName } from "../scope.ts";
import { isTensor, type Value } from "../value.ts";

/** Bytes [rows, …] as codes [rows, columns] of 4 or 8 bits, lower half first. */
function unpacked(bytes: Tensor, rows: number, columns: number, bits: number): Tensor {
  const data = contiguousData(bytes) as Uint8Array;
  if (bits === 8) return fromData<DType>("uint8", data, [rows, columns]);
  const width = data.length / rows;
  const codes = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const byte = data[row * width + (column >> 1)];
      codes[row * columns + column] = column % 2 === 0 ? byte & 15 : byte >> 4;
    }
  }
  return fromData<DType>("uint4", codes, [rows, columns]);
}

/** The same of a constant, or of a weight that is read when the model is written; undefined for what a node makes. */
function unpackedValue(value: Value, rows: number, columns: number, bits: number): Value | undefined {
  if (isTensor(value)) return unpacked(value, rows, columns, bits);
  const { kind, data, name = "weight" } = value;
  if (kind !== "parameter" || data === undefined) return undefined;
  return parameter(`${name}/unpacked`, {
    dtype: bits === 8 ? "uint8" : "uint4",
    shape: [rows, columns],
    read: async () => unpacked(await data.read(), rows, columns, bits),
    origin: data.origin && {
      ...data.origin,
      transform: [data.origin.transform, "unpack"].filter((each) => each).join(", "),
    },
  });
}

/** The weight [N, K] as DequantizeLinear gives it from the codes themselves; undefined where they have another form. */
function dequantized(call: GradientCall): Value | undefined {
  const [, codes, scales, zeros, order] = call.inputs;
  const [n, k, bits, block] = ["N", "K", "bits", "block_size"].map((name) =>
    intOf(call, name, name === "bits" ? 4 : 0),
  );
  if (codes === undefined || scales === undefined || order !== undefined) return undefined;
  if ((bits !== 4 && bits !== 8) || k % block !== 0) return undefined;
  const blocks = k / block;
  if (zeros !== undefined && zeros.dtype !== "uint8") return undefined;
  const weight = unpackedValue(codes, n, k, bits);
  const dtype = bits === 8 ? "uint8" : "uint4";
  const middle = { ...numbersTensor([2 ** (bits - 1)], [1], dtype, call.op), shape: [n, blocks], stride: [0, 0] };
  const zero = zeros === undefined ? middle : unpackedValue(zeros, n, blocks, bits);
  if (weight === undefined || zero === undefined) return undefined;
  return dequantizeLinear(weight, reshape(scales, [n, blocks]), zero, { axis: 1, blockSize: block });
}

/** Its transpose [K, N] as the operator's own product with the identity: for every form that the operator takes. */
function byIdentity(call: GradientCall, x: Value): Value {
  const [k, n] = [intOf(call, "K", 0), intOf(call, "N", 0)];
  const identity = new Float32Array(k * k);
  for (let i = 0; i < k; i++) identity[i * k + i] = 1;
  const { accuracy_level: _, ...attributes } = call.attributes; // exact, not in 8 bits
  const inputs = [cast(fromData("float32", identity, [k, k]), x.dtype), ...call.inputs.slice(1, 5)];
  const node = { op: call.op, domain: contrib, inputs, attributes, name: scopedName(call.op) };
  return makeNode(node, [{ dtype: x.dtype, shape: [k, n] }])[0];
}

function onlyActivations(call: GradientCall, index: number): LoomweightError {
  return new LoomweightError({
    code: "NO_GRADIENT",
    problem: `${call.op} is differentiated with respect to its activations and bias only, not to input ${index}`,
    node: call.name,
    fix: "Train adapters beside quantized weights, or dequantize them first.",
  });
}

/** ONNX's quantization: QuantizeLinear, a staircase, has no rule of its own; wrap it in `customGradient`. */
export const quantizedGradients = /* @__PURE__ */ defineGradients({
  /** y = (code − zero) · scale: towards the scale, summed over what it is shared by. */
  DequantizeLinear(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [codes, scale, zero] = [operand(call, 0), operand(call, 1), call.inputs[2]];
    const shape = concreteShape(call, codes);
    const scales = concreteShape(call, scale);
    const { dtype } = scale;
    const count = elementCount(scales);
    const axis = shape.length === 0 ? 0 : normalizeAxis(intOf(call, "axis", 1), shape.length, call.op);
    if (count === 1) {
      const shift = zero && cast(zero, dtype);
      const plain = cast(codes, dtype);
      const levels = shift === undefined ? plain : sub(plain, reshape(shift, []));
      return [undefined, reshapeLike(reduceSum(mul(dy, levels), undefined, false), scale)];
    }
    // Codes as [.., scales along the axis, codes that share one, ..]
    const along = scales.length === 1 ? scales[0] : scales[axis];
    const split = [...shape.slice(0, axis), along, shape[axis] / along, ...shape.slice(axis + 1)];
    const wide = (value: Value) => {
      const sizes = scales.length === 1 ? shape.map((_, at) => (at === axis ? along : 1)) : [...scales];
      return reshape(cast(value, dtype), [...sizes.slice(0, axis + 1), 1, ...sizes.slice(axis + 1)]);
    };
    const levels = reshape(cast(codes, dtype), split);
    const product = mul(reshape(dy, split), zero === undefined ? levels : sub(levels, wide(zero)));
    const others = split.flatMap((_, at) => (at === axis || (scales.length > 1 && at !== axis + 1) ? [] : [at]));
    return [undefined, reshapeLike(reduceSum(product, others, false), scale)];
  },
});

/** onnxruntime's weight-only quantization. */
export const contribQuantizedGradients = /* @__PURE__ */ defineGradients({
  /** y = x Wᵀ: dx = dy W, with the weight dequantized for the backward pass. */
  MatMulNBits(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const frozen = call.wants.findIndex((wanted, index) => wanted && index > 0 && index !== 5);
    if (frozen >= 0) throw onlyActivations(call, frozen);
    const x = operand(call, 0);
    const rows = reshape(dy, [-1, intOf(call, "N", 0)]);
    const weight = dequantized(call);
    const dx = () =>
      weight === undefined
        ? gemm(rows, byIdentity(call, x), undefined, { transB: true })
        : gemm(rows, cast(weight, x.dtype));
    const bias = call.inputs[5];
    return [
      call.wants[0] ? reshapeLike(dx(), x) : undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      call.wants[5] && bias ? reshapeLike(reduceSum(rows, [0], false), bias) : undefined,
    ];
  },
});

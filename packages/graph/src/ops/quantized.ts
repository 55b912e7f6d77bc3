import {
  type DType,
  dtypeFacts,
  elementCount,
  fromData,
  isFloat,
  LoomweightError,
  type Tensor,
} from "@loomweight/tensor";
import { attributes, int, intOf, ints } from "../attributes.ts";
import { multiplyDims, normalizeAxis } from "../dims.ts";
import { multiplyInto } from "../evaluate/multiply.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { dtypeOfOnnx } from "../onnx-dtype.ts";
import { apply, applyOne, type ConstantCall, contrib, defineOps, ruleOf } from "../op.ts";
import type { Dim, Value } from "../value.ts";
import { convolutionOps } from "./convolution.ts";
import { matmulOps } from "./matmul.ts";
import { badShape, inputOf, requireDtype } from "./same-dtype.ts";

const eightBits = ["int8", "uint8"] as const;
const quantizedTypes = [
  "int8",
  "uint8",
  "int4",
  "uint4",
  "int16",
  "uint16",
  "int32",
  "float8_e4m3fn",
  "float8_e5m2",
  "float4_e2m1fn",
] as const;

/** Smallest and largest code of an integer dtype. */
function codeRange(dtype: DType): [number, number] {
  const { bits, kind } = dtypeFacts[dtype];
  if (kind === "integer") return [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
  if (kind === "unsigned") return [0, 2 ** bits - 1];
  throw new LoomweightError({ code: "UNSUPPORTED_DTYPE", problem: `constants are not quantized to ${dtype}` });
}

/** Place of the scale of each element: one for all, one per index of an axis, or one per block along it. */
function scalePlaces(call: ConstantCall): (position: number) => number {
  const [x, scale] = call.inputs as [Tensor, Tensor];
  if (elementCount(scale.shape) === 1) return () => 0;
  const axis = normalizeAxis(intOf(call, "axis", 1), x.shape.length, call.op);
  const block = intOf(call, "block_size", 0);
  const inner = elementCount(x.shape.slice(axis + 1));
  const size = x.shape[axis];
  if (block === 0) return (position) => Math.floor(position / inner) % size;
  const blocks = scale.shape[axis];
  return (position) => {
    const along = Math.floor(position / inner) % size;
    return (Math.floor(position / inner / size) * blocks + Math.floor(along / block)) * inner + (position % inner);
  };
}

function halfToEven(x: number): number {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** A product computed on integers: x − its zero point, w − its zero point, summed exactly. */
function integerOperand(values: Tensor, zero: Tensor | undefined, perRow: boolean): Float64Array {
  const out = elementsOf(values).slice();
  if (zero === undefined) return out;
  const zeros = elementsOf(zero);
  const columns = values.shape[values.shape.length - 1];
  for (let i = 0; i < out.length; i++) {
    out[i] -= zeros[zeros.length === 1 ? 0 : perRow ? Math.floor(i / columns) % zeros.length : i % columns];
  }
  return out;
}

/** Quantization: ONNX's own operators and onnxruntime's (com.microsoft). */
export const quantizedOps = /* @__PURE__ */ defineOps({
  QuantizeLinear: {
    inputs: [2, 3],
    infer(call) {
      const zero = call.inputs[2];
      const given = intOf(call, "output_dtype", 0);
      const dtype = zero?.dtype ?? (given === 0 ? "uint8" : dtypeOfOnnx(given, call.name));
      return [{ dtype, shape: inputOf(call, 0).shape }];
    },
    evaluate(call) {
      const [x, scale, zero] = call.inputs as [Tensor, Tensor, Tensor | undefined];
      const { dtype, shape } = call.types[0];
      const [low, high] = codeRange(dtype);
      const place = scalePlaces(call);
      const [values, scales, zeros] = [elementsOf(x), elementsOf(scale), zero && elementsOf(zero)];
      const out = values.map((value, i) => {
        const at = place(i);
        const code = halfToEven(Math.fround(value / scales[at])) + (zeros?.[at] ?? 0);
        return Math.min(high, Math.max(low, code));
      });
      return [tensorOf(out, shape, dtype)];
    },
    samples: [
      {
        inputs: [[2, 3], { shape: [], values: [0.02] }, { shape: [], dtype: "uint8", values: [128] }],
        constants: [1, 2],
      },
      {
        inputs: [[2, 3], { shape: [3], values: [0.02, 0.1, 1] }, { shape: [3], dtype: "int8", values: [0, 3, -4] }],
        attributes: { axis: int(1) },
        constants: [1, 2],
      },
    ],
  },
  DequantizeLinear: {
    inputs: [2, 3],
    infer(call) {
      requireDtype(call, 0, quantizedTypes);
      return [{ dtype: inputOf(call, 1).dtype, shape: inputOf(call, 0).shape }];
    },
    evaluate(call) {
      const [x, scale, zero] = call.inputs as [Tensor, Tensor, Tensor | undefined];
      const place = scalePlaces(call);
      const [codes, scales, zeros] = [elementsOf(x), elementsOf(scale), zero && elementsOf(zero)];
      const out = codes.map((code, i) => (code - (zeros?.[place(i)] ?? 0)) * scales[place(i)]);
      return [tensorOf(out, x.shape, scale.dtype)];
    },
    samples: [
      {
        inputs: [
          { shape: [2, 2], dtype: "int8", values: [-128, 0, 5, 127] },
          { shape: [], values: [0.5] },
        ],
        constants: [1],
      },
      {
        inputs: [
          { shape: [2, 2], dtype: "uint8", values: [0, 7, 5, 255] },
          { shape: [2], values: [0.5, 2] },
          { shape: [2], dtype: "uint8", values: [1, 128] },
        ],
        attributes: { axis: int(0) },
        constants: [1, 2],
      },
      {
        inputs: [
          { shape: [4, 2], dtype: "int8", values: [0, 7, 5, -8, 1, 2, 3, 4] },
          { shape: [2, 2], values: [0.5, 2, 1, 3] },
        ],
        attributes: { axis: int(0), block_size: int(2) },
        constants: [0, 1],
      },
    ],
  },
  DynamicQuantizeLinear: {
    inputs: [1, 1],
    infer(call) {
      requireDtype(call, 0, ["float32"]);
      return [
        { dtype: "uint8", shape: inputOf(call, 0).shape },
        { dtype: "float32", shape: [] },
        { dtype: "uint8", shape: [] },
      ];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const values = elementsOf(x);
      let [low, high] = [0, 0];
      for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
      const scale = high === low ? 1 : Math.fround(Math.fround(high - low) / 255);
      const zero = Math.min(255, Math.max(0, halfToEven(Math.fround(-low / scale))));
      const codes = values.map((value) => Math.min(255, Math.max(0, halfToEven(Math.fround(value / scale)) + zero)));
      return [
        tensorOf(codes, x.shape, "uint8"),
        fromData<DType>("float32", Float32Array.of(scale), []),
        fromData<DType>("uint8", Uint8Array.of(zero), []),
      ];
    },
    samples: [
      { inputs: [[2, 5]], outputs: 3 },
      { inputs: [{ shape: [3], values: [1, 2, 6] }], outputs: 3 },
    ],
  },
  MatMulInteger: {
    inputs: [2, 4],
    infer(call) {
      requireDtype(call, 0, eightBits);
      requireDtype(call, 1, eightBits);
      const [a, b] = [inputOf(call, 0), inputOf(call, 1)];
      const [product] = matmulOps.MatMul.infer({ ...call, inputs: [a, { dtype: a.dtype, shape: b.shape }] });
      return [{ dtype: "int32", shape: product.shape }];
    },
    evaluate(call) {
      const [a, b, aZero, bZero] = call.inputs as [Tensor, Tensor, Tensor | undefined, Tensor | undefined];
      const { shape } = call.types[0];
      if (a.shape.length !== 2 || b.shape.length !== 2)
        throw badShape(call, "constants are multiplied as matrices only");
      const out = new Float64Array(elementCount(shape));
      const [x, y] = [integerOperand(a, aZero, true), integerOperand(b, bZero, false)];
      multiplyInto(out, x, y, { out: 0, a: 0, b: 0 }, { m: a.shape[0], n: b.shape[1], k: a.shape[1] });
      return [tensorOf(out, shape, "int32")];
    },
    samples: [
      {
        inputs: [
          { shape: [2, 3], dtype: "uint8", values: [1, 2, 3, 250, 0, 7] },
          { shape: [3, 2], dtype: "int8", values: [1, -2, 3, 4, -128, 6] },
          { shape: [], dtype: "uint8", values: [3] },
          { shape: [2], dtype: "int8", values: [0, 0] },
        ],
        constants: [1, 3],
      },
    ],
  },
  ConvInteger: {
    inputs: [2, 4],
    infer(call) {
      requireDtype(call, 0, eightBits);
      const [x, weight] = [inputOf(call, 0), inputOf(call, 1)];
      const [product] = convolutionOps.Conv.infer({ ...call, inputs: [x, { dtype: x.dtype, shape: weight.shape }] });
      return [{ dtype: "int32", shape: product.shape }];
    },
    samples: [
      {
        inputs: [
          { shape: [1, 1, 3, 3], dtype: "uint8", values: [1, 2, 3, 4, 5, 6, 7, 8, 9] },
          { shape: [1, 1, 2, 2], dtype: "uint8", values: [1, 0, 2, 1] },
          { shape: [], dtype: "uint8", values: [1] },
        ],
        constants: [1],
      },
    ],
  },
});

/** The same, of com.microsoft. */
export const contribQuantizedOps = /* @__PURE__ */ defineOps({
  MatMulNBits: {
    inputs: [3, 6],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const [k, n] = [intOf(call, "K", 0), intOf(call, "N", 0)];
      const inner = shape[shape.length - 1];
      if (typeof inner === "number" && inner !== k)
        throw badShape(call, `x has ${inner} columns, the weight K = ${k} rows`);
      return [{ dtype, shape: [...shape.slice(0, -1), n] }];
    },
    samples: [
      {
        inputs: [
          [2, 32],
          { shape: [2, 1, 16], dtype: "uint8", values: Array.from({ length: 32 }, (_, i) => (i * 37) % 256) },
          { shape: [2, 1], values: [0.1, 0.2] },
        ],
        attributes: { K: int(32), N: int(2), bits: int(4), block_size: int(32) },
        constants: [1, 2],
      },
    ],
  },
  MatMulBnb4: {
    inputs: [3, 3],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      return [{ dtype, shape: [...shape.slice(0, -1), intOf(call, "N", 0)] }];
    },
    samples: [
      {
        inputs: [
          [2, 32],
          { shape: [32], dtype: "uint8", values: Array.from({ length: 32 }, (_, i) => (i * 37) % 256) },
          { shape: [2], values: [0.1, 0.2] },
        ],
        attributes: { K: int(32), N: int(2), block_size: int(32), quant_type: int(1) },
        constants: [1, 2],
      },
    ],
  },
  GatherBlockQuantized: {
    inputs: [3, 4],
    infer(call) {
      const data = inputOf(call, 0);
      const { shape: indices } = inputOf(call, 1);
      const scales = inputOf(call, 2);
      if (!isFloat(scales.dtype)) throw badShape(call, "scales must be floats");
      const rank = data.shape.length;
      const gather = normalizeAxis(intOf(call, "gather_axis", 0), rank, call.op);
      const quantize = normalizeAxis(intOf(call, "quantize_axis", 1), rank, call.op);
      const bits = intOf(call, "bits", 4);
      // uint8 data holds 8 / bits codes a byte along the quantized axis.
      const perByte = data.dtype === "uint8" ? 8 / bits : 1;
      const shape = data.shape.map((dim, axis): Dim => (axis === quantize ? multiplyDims(dim, perByte) : dim));
      return [{ dtype: scales.dtype, shape: [...shape.slice(0, gather), ...indices, ...shape.slice(gather + 1)] }];
    },
    samples: [
      {
        inputs: [
          { shape: [3, 16], dtype: "uint8", values: Array.from({ length: 48 }, (_, i) => (i * 37) % 256) },
          { shape: [2], dtype: "int64", values: [2, 0] },
          { shape: [3, 2], values: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] },
        ],
        attributes: { bits: int(4), block_size: int(16), gather_axis: int(0), quantize_axis: int(1) },
        constants: [0, 2],
      },
    ],
  },
});

export interface QuantizeOptions {
  /** Axis of per-axis or blocked scales; default 1. */
  readonly axis?: number;
  /** Elements along the axis that share a scale. */
  readonly blockSize?: number;
}

const quantizeAttributes = ({ axis, blockSize }: QuantizeOptions) =>
  attributes({
    axis: axis === undefined ? undefined : int(axis),
    block_size: blockSize === undefined ? undefined : int(blockSize),
  });

/** clamp(round-half-even(x / scale) + zeroPoint): codes of the zero point's dtype, uint8 where it is left out. */
export function quantizeLinear(x: Value, scale: Value, zeroPoint?: Value, options: QuantizeOptions = {}): Value {
  return applyOne(ruleOf(quantizedOps, "QuantizeLinear"), [x, scale, zeroPoint], quantizeAttributes(options));
}

/** (code − zeroPoint) · scale, of the scale's dtype */
export function dequantizeLinear(x: Tensor, scale: Tensor, zeroPoint?: Tensor, options?: QuantizeOptions): Tensor;
export function dequantizeLinear(x: Value, scale: Value, zeroPoint?: Value, options?: QuantizeOptions): Value;
export function dequantizeLinear(x: Value, scale: Value, zeroPoint?: Value, options: QuantizeOptions = {}): Value {
  return applyOne(ruleOf(quantizedOps, "DequantizeLinear"), [x, scale, zeroPoint], quantizeAttributes(options));
}

/** uint8 codes of a float32 value with the scale and zero point of its own range */
export function dynamicQuantizeLinear(x: Value): { y: Value; scale: Value; zeroPoint: Value } {
  const [y, scale, zeroPoint] = apply(ruleOf(quantizedOps, "DynamicQuantizeLinear"), [x], { outputs: 3 });
  return { y, scale, zeroPoint };
}

/** (a − aZeroPoint) x (b − bZeroPoint) of 8-bit codes, in int32 */
export function matMulInteger(a: Value, b: Value, aZeroPoint?: Value, bZeroPoint?: Value): Value {
  return applyOne(ruleOf(quantizedOps, "MatMulInteger"), [a, b, aZeroPoint, bZeroPoint]);
}

export interface ConvIntegerOptions {
  readonly strides?: readonly number[];
  readonly pads?: readonly number[];
  readonly dilations?: readonly number[];
  readonly group?: number;
}

/** Convolution of 8-bit codes, in int32 */
export function convInteger(
  x: Value,
  weight: Value,
  xZeroPoint?: Value,
  weightZeroPoint?: Value,
  { strides, pads, dilations, group }: ConvIntegerOptions = {},
): Value {
  return applyOne(
    ruleOf(quantizedOps, "ConvInteger"),
    [x, weight, xZeroPoint, weightZeroPoint],
    attributes({
      strides: strides && ints(strides),
      pads: pads && ints(pads),
      dilations: dilations && ints(dilations),
      group: group === undefined ? undefined : int(group),
    }),
  );
}

export interface MatMulNBitsOptions {
  /** Rows of the weight. */
  readonly k: number;
  /** Columns of the weight. */
  readonly n: number;
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  /** 4: int8 activations (fast on CPUs); 0: as the input. */
  readonly accuracyLevel?: 0 | 1 | 2 | 3 | 4;
}

/** x [.., K] times a weight [K, N] in blocks of `bits`-bit codes: codes uint8 [N, blocks, bytes], scales [N, blocks] */
export function matMulNBits(
  x: Value,
  codes: Value,
  scales: Value,
  options: MatMulNBitsOptions,
  zeroPoints?: Value,
): Value {
  const { k, n, bits, blockSize, accuracyLevel } = options;
  return applyOne(
    ruleOf(contribQuantizedOps, "MatMulNBits", contrib),
    [x, codes, scales, zeroPoints],
    attributes({
      K: int(k),
      N: int(n),
      bits: int(bits),
      block_size: int(blockSize),
      accuracy_level: accuracyLevel === undefined ? undefined : int(accuracyLevel),
    }),
  );
}

/** Rows of a block-quantized table picked by indices, dequantized */
export function gatherBlockQuantized(
  data: Value,
  indices: Value,
  scales: Value,
  options: {
    readonly bits: 4 | 8;
    readonly blockSize: number;
    readonly gatherAxis?: number;
    readonly quantizeAxis?: number;
  },
  zeroPoints?: Value,
): Value {
  const { bits, blockSize, gatherAxis = 0, quantizeAxis = 1 } = options;
  return applyOne(ruleOf(contribQuantizedOps, "GatherBlockQuantized", contrib), [data, indices, scales, zeroPoints], {
    bits: int(bits),
    block_size: int(blockSize),
    gather_axis: int(gatherAxis),
    quantize_axis: int(quantizeAxis),
  });
}

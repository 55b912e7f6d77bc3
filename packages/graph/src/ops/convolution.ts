import { elementCount, type Tensor } from "@loomweight/tensor";
import { float, int, intOf, ints, intsOf, text, textOf } from "../attributes.ts";
import { multiplyDims, unknownDim } from "../dims.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { applyOne, type ConstantCall, defineOps, knownElements, type OpCall, type OpRule, ruleOf } from "../op.ts";
import type { Attributes, Dim, Value } from "../value.ts";
import { byParts } from "./decompose.ts";
import { resizeByParts } from "./resize-parts.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";
import { paddedCounts, slide, slidSize, transposedWindow, windowOf } from "./window.ts";

function convolutionShape(call: OpCall, weightIndex: number): Dim[] {
  const { shape } = inputOf(call, 0);
  const weight = inputOf(call, weightIndex).shape;
  const kernel = weight.slice(2);
  if (shape.length < 3 || weight.length !== shape.length || kernel.some((size) => typeof size !== "number")) {
    throw badShape(call, `x [${shape}] and weight [${weight}] must be [batch, channels, …] and [out, in / group, …]`);
  }
  const group = intOf(call, "group", 1);
  const [channels, inner] = [shape[1], weight[1]];
  if (typeof channels === "number" && typeof inner === "number" && channels !== inner * group) {
    throw badShape(call, `x has ${channels} channels, the weight takes ${inner} in each of ${group} groups`);
  }
  const window = windowOf(call, kernel as number[]);
  return [shape[0], weight[0], ...shape.slice(2).map((size, axis) => slidSize(size, window, axis))];
}

function poolRule(kind: "max" | "average"): OpRule {
  return {
    inputs: [1, 1],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const window = windowOf(call, intsOf(call, "kernel_shape") ?? []);
      if (window.kernel.length !== shape.length - 2) throw badShape(call, `kernel_shape does not fit x [${shape}]`);
      const out = [...shape.slice(0, 2), ...shape.slice(2).map((size, axis) => slidSize(size, window, axis))];
      const types = [
        { dtype, shape: out },
        { dtype: "int64" as const, shape: out },
      ];
      return types.slice(0, kind === "max" ? Math.max(1, call.outputs) : 1);
    },
    evaluate: (call) => [evaluatePool(call, kind)],
    samples: [
      { inputs: [[1, 2, 5, 5]], attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]) } },
      {
        inputs: [[1, 2, 5, 5]],
        attributes: { kernel_shape: ints([3, 3]), pads: ints([1, 1, 1, 1]), strides: ints([2, 1]) },
      },
      { inputs: [[1, 1, 6, 6]], attributes: { kernel_shape: ints([3, 3]), strides: ints([2, 2]), ceil_mode: int(1) } },
      { inputs: [[2, 3, 7]], attributes: { kernel_shape: ints([2]), auto_pad: text("SAME_UPPER") } },
    ],
  };
}

function evaluatePool(call: ConstantCall, kind: "max" | "average"): Tensor {
  const x = call.inputs[0] as Tensor;
  const { dtype, shape } = call.types[0];
  const window = windowOf(call, intsOf(call, "kernel_shape") ?? []);
  const data = elementsOf(x);
  const out = new Float64Array(elementCount(shape)).fill(kind === "max" ? Number.NEGATIVE_INFINITY : 0);
  const counts = new Float64Array(out.length);
  slide(x.shape, shape, window, (to, at) => {
    if (kind === "max") out[to] = Math.max(out[to], data[at]);
    else out[to] += data[at];
    counts[to]++;
  });
  if (kind === "average") {
    const padded = intOf(call, "count_include_pad", 0) === 1 ? paddedCounts(x.shape, shape, window) : undefined;
    for (let i = 0; i < out.length; i++) out[i] /= padded?.[i % padded.length] ?? counts[i];
  }
  return tensorOf(out, shape, dtype);
}

function evaluateConvTranspose(call: ConstantCall): Tensor {
  const [x, weight, bias] = call.inputs as [Tensor, Tensor, Tensor | undefined];
  const { dtype, shape } = call.types[0];
  const group = intOf(call, "group", 1);
  const window = transposedWindow(call, x.shape, weight.shape, shape);
  const [data, taps] = [elementsOf(x), elementsOf(weight)];
  const [planes, channels, perGroup] = [x.shape[1], shape[1], weight.shape[1]];
  const [cells, result, source] = [
    elementCount(window.kernel),
    elementCount(shape.slice(2)),
    elementCount(x.shape.slice(2)),
  ];
  const out = new Float64Array(elementCount(shape));
  if (bias !== undefined) {
    const shift = elementsOf(bias);
    for (let i = 0; i < out.length; i++) out[i] = shift[Math.floor(i / result) % channels];
  }
  // The window slides over the result and reads what it would have written.
  slide([1, 1, ...shape.slice(2)], [1, 1, ...x.shape.slice(2)], window, (from, at, tap) => {
    for (let batch = 0; batch < x.shape[0]; batch++) {
      for (let c = 0; c < planes; c++) {
        const value = data[(batch * planes + c) * source + from];
        const first = Math.floor(c / (planes / group)) * perGroup;
        for (let k = 0; k < perGroup; k++) {
          out[(batch * channels + first + k) * result + at] += value * taps[(c * perGroup + k) * cells + tap];
        }
      }
    }
  });
  return tensorOf(out, shape, dtype);
}

/** All spatial axes brought down to 1. */
function globalPool(fold: (values: Float64Array) => number): OpRule {
  return {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      return [{ dtype, shape: shape.map((dim, axis) => (axis < 2 ? dim : 1)) }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const { dtype, shape } = call.types[0];
      const data = elementsOf(x);
      const inner = elementCount(x.shape.slice(2));
      const out = Float64Array.from({ length: elementCount(shape) }, (_, i) =>
        fold(data.subarray(i * inner, (i + 1) * inner)),
      );
      return [tensorOf(out, shape, dtype)];
    },
    samples: [{ inputs: [[2, 3, 4, 5]] }],
  };
}

/** Convolution, pooling, resizing: [batch, channels, spatial axes …]. */
export const convolutionOps = /* @__PURE__ */ defineOps({
  Conv: {
    inputs: [2, 3],
    infer: (call) => [{ dtype: sameDtype(call), shape: convolutionShape(call, 1) }],
    evaluate(call) {
      const [x, weight, bias] = call.inputs as [Tensor, Tensor, Tensor | undefined];
      const { dtype, shape } = call.types[0];
      const window = windowOf(call, weight.shape.slice(2));
      const group = intOf(call, "group", 1);
      const [data, taps] = [elementsOf(x), elementsOf(weight)];
      const [planes, channels] = [x.shape[1], shape[1]];
      const inner = weight.shape[1];
      const [result, cells] = [elementCount(shape.slice(2)), elementCount(window.kernel)];
      const out = new Float64Array(elementCount(shape));
      if (bias !== undefined) {
        const shift = elementsOf(bias);
        for (let i = 0; i < out.length; i++) out[i] = shift[Math.floor(i / result) % channels];
      }
      slide(x.shape, [x.shape[0], planes, ...shape.slice(2)], window, (to, at, tap) => {
        const place = to % result;
        const channel = Math.floor(to / result) % planes;
        const batch = Math.floor(to / result / planes);
        const from = Math.floor(channel / inner);
        for (let k = 0; k < channels / group; k++) {
          const o = from * (channels / group) + k;
          out[(batch * channels + o) * result + place] +=
            data[at] * taps[(o * inner + (channel % inner)) * cells + tap];
        }
      });
      return [tensorOf(out, shape, dtype)];
    },
    samples: [
      { inputs: [[2, 3, 5, 5], [4, 3, 3, 3], [4]] },
      {
        inputs: [
          [1, 4, 6, 5],
          [6, 2, 3, 2],
        ],
        attributes: { group: int(2), strides: ints([2, 1]), pads: ints([1, 0, 2, 1]), dilations: ints([1, 2]) },
      },
      {
        inputs: [
          [1, 2, 7],
          [3, 2, 2],
        ],
        attributes: { auto_pad: text("SAME_LOWER"), strides: ints([2]) },
      },
    ],
  },
  ConvTranspose: {
    inputs: [2, 3],
    infer(call) {
      const { shape } = inputOf(call, 0);
      const weight = inputOf(call, 1).shape;
      const window = windowOf(call, weight.slice(2) as number[]);
      const extra = intsOf(call, "output_padding") ?? window.kernel.map(() => 0);
      const given = intsOf(call, "output_shape");
      const spatial = shape.slice(2).map((size, axis): Dim => {
        if (given !== undefined) return given[axis];
        if (typeof window.pads === "string") return multiplyDims(size, window.strides[axis]);
        if (typeof size !== "number") return unknownDim;
        const pads = window.pads[axis] + window.pads[axis + window.kernel.length];
        return (
          (size - 1) * window.strides[axis] +
          extra[axis] +
          (window.kernel[axis] - 1) * window.dilations[axis] +
          1 -
          pads
        );
      });
      const channels = weight[1];
      const group = intOf(call, "group", 1);
      return [
        {
          dtype: sameDtype(call),
          shape: [shape[0], typeof channels === "number" ? channels * group : unknownDim, ...spatial],
        },
      ];
    },
    evaluate: (call) => [evaluateConvTranspose(call)],
    samples: [
      {
        inputs: [[1, 4, 3], [4, 1, 3], [2]],
        attributes: { group: int(2), dilations: ints([2]), auto_pad: text("SAME_LOWER"), strides: ints([2]) },
      },
      {
        inputs: [
          [1, 3, 4, 4],
          [3, 2, 3, 3],
        ],
        attributes: { strides: ints([2, 2]), pads: ints([1, 1, 1, 1]), output_padding: ints([1, 1]) },
      },
    ],
  },
  MaxPool: poolRule("max"),
  AveragePool: poolRule("average"),
  GlobalAveragePool: globalPool((values) => values.reduce((total, value) => total + value, 0) / values.length),
  GlobalMaxPool: globalPool((values) =>
    values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY),
  ),
  Resize: {
    inputs: [1, 4],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const sizes = knownElements(call.inputs[3]);
      const scales = call.inputs[2]?.tensor && elementsOf(call.inputs[2].tensor);
      const axes = intsOf(call, "axes") ?? shape.map((_, axis) => axis);
      const out = [...shape];
      for (const [i, axis] of axes.entries()) {
        const size = shape[axis];
        const stretch = textOf(call, "keep_aspect_ratio_policy", "stretch") === "stretch";
        if (sizes !== undefined && sizes.length > 0) out[axis] = stretch ? sizes[i] : unknownDim;
        else if (scales === undefined || typeof size !== "number") out[axis] = scales?.[i] === 1 ? size : unknownDim;
        else out[axis] = Math.floor(size * scales[i]);
      }
      return [{ dtype, shape: out }];
    },
    evaluate: byParts(resizeByParts),
    samples: [
      {
        inputs: [[1, 2, 3, 4], undefined, { shape: [4], values: [1, 1, 2, 2] }],
        attributes: { mode: text("nearest") },
        constants: [2],
      },
      {
        inputs: [[1, 1, 4, 4], undefined, undefined, { shape: [4], dtype: "int64", values: [1, 1, 7, 3] }],
        attributes: { mode: text("linear") },
      },
      {
        inputs: [[1, 1, 4, 4], undefined, { shape: [4], values: [1, 1, 1.6, 0.7] }],
        attributes: { mode: text("cubic") },
        constants: [2],
      },
    ],
  },
});

export interface WindowOptions {
  /** One per spatial axis; default 1. */
  readonly strides?: readonly number[];
  /** [before of each axis, after of each axis]; default 0. */
  readonly pads?: readonly number[];
  /** Default 1. */
  readonly dilations?: readonly number[];
}

function windowAttributes({ strides, pads, dilations }: WindowOptions): Attributes {
  return {
    ...(strides === undefined ? {} : { strides: ints(strides) }),
    ...(pads === undefined ? {} : { pads: ints(pads) }),
    ...(dilations === undefined ? {} : { dilations: ints(dilations) }),
  };
}

/** Cross-correlation of x [batch, in, …] with weight [out, in / group, …], plus bias [out]. */
export function conv(x: Tensor, weight: Tensor, bias?: Tensor, options?: WindowOptions & { group?: number }): Tensor;
export function conv(x: Value, weight: Value, bias?: Value, options?: WindowOptions & { group?: number }): Value;
export function conv(
  x: Value,
  weight: Value,
  bias?: Value,
  { group = 1, ...options }: WindowOptions & { readonly group?: number } = {},
): Value {
  const kernel = weight.shape.slice(2);
  const attributes = {
    ...(kernel.every((size) => typeof size === "number") ? { kernel_shape: ints(kernel) } : {}),
    ...(group === 1 ? {} : { group: int(group) }),
    ...windowAttributes(options),
  };
  return applyOne(ruleOf(convolutionOps, "Conv"), [x, weight, bias], attributes);
}

export interface ConvTransposeOptions extends WindowOptions {
  readonly group?: number;
  /** Rows and columns added at the end; default 0. */
  readonly outputPadding?: readonly number[];
}

/** The transpose of a convolution: x [batch, in, …] with weight [in, out / group, …], plus bias [out]. */
export function convTranspose(x: Tensor, weight: Tensor, bias?: Tensor, options?: ConvTransposeOptions): Tensor;
export function convTranspose(x: Value, weight: Value, bias?: Value, options?: ConvTransposeOptions): Value;
export function convTranspose(
  x: Value,
  weight: Value,
  bias?: Value,
  { group = 1, outputPadding, ...options }: ConvTransposeOptions = {},
): Value {
  const kernel = weight.shape.slice(2);
  const attributes = {
    ...(kernel.every((size) => typeof size === "number") ? { kernel_shape: ints(kernel) } : {}),
    ...(group === 1 ? {} : { group: int(group) }),
    ...(outputPadding === undefined ? {} : { output_padding: ints(outputPadding) }),
    ...windowAttributes(options),
  };
  return applyOne(ruleOf(convolutionOps, "ConvTranspose"), [x, weight, bias], attributes);
}

/** Largest element of each window */
export function maxPool(
  x: Value,
  kernel: readonly number[],
  options: WindowOptions & { readonly ceil?: boolean } = {},
): Value {
  const { ceil = false, ...window } = options;
  const attributes = {
    kernel_shape: ints(kernel),
    ...windowAttributes(window),
    ...(ceil ? { ceil_mode: int(1) } : {}),
  };
  return applyOne(ruleOf(convolutionOps, "MaxPool"), [x], attributes);
}

/** Mean of each window; padding counts only with `includePad`. */
export function averagePool(
  x: Value,
  kernel: readonly number[],
  options: WindowOptions & { readonly ceil?: boolean; readonly includePad?: boolean } = {},
): Value {
  const { ceil = false, includePad = false, ...window } = options;
  const attributes = {
    kernel_shape: ints(kernel),
    ...windowAttributes(window),
    ...(ceil ? { ceil_mode: int(1) } : {}),
    ...(includePad ? { count_include_pad: int(1) } : {}),
  };
  return applyOne(ruleOf(convolutionOps, "AveragePool"), [x], attributes);
}

/** Mean over all spatial axes, which become 1 */
export function globalAveragePool(x: Value): Value {
  return applyOne(ruleOf(convolutionOps, "GlobalAveragePool"), [x]);
}

/** Largest element over all spatial axes, which become 1 */
export function globalMaxPool(x: Value): Value {
  return applyOne(ruleOf(convolutionOps, "GlobalMaxPool"), [x]);
}

export interface ResizeOptions {
  /** The axes that `sizes` or `scales` speak of; default all. */
  readonly axes?: readonly number[];
  /** Target size of each axis. */
  readonly sizes?: Value;
  /** Factor of each axis, float32. */
  readonly scales?: Value;
  readonly mode?: "nearest" | "linear" | "cubic";
  /** Default "half_pixel". */
  readonly coordinates?: "half_pixel" | "align_corners" | "asymmetric" | "pytorch_half_pixel";
  readonly nearest?: "round_prefer_floor" | "round_prefer_ceil" | "floor" | "ceil";
  /** Default -0.75. */
  readonly cubicCoefficient?: number;
  readonly antialias?: boolean;
}

/** Another spatial size by interpolation; give `sizes` or `scales`. */
export function resize(x: Value, options: ResizeOptions): Value {
  const { axes, sizes, scales, mode = "nearest", coordinates, nearest, cubicCoefficient, antialias = false } = options;
  return applyOne(ruleOf(convolutionOps, "Resize"), [x, undefined, scales, sizes], {
    mode: text(mode),
    ...(axes === undefined ? {} : { axes: ints(axes) }),
    ...(coordinates === undefined ? {} : { coordinate_transformation_mode: text(coordinates) }),
    ...(nearest === undefined ? {} : { nearest_mode: text(nearest) }),
    ...(cubicCoefficient === undefined ? {} : { cubic_coeff_a: float(cubicCoefficient) }),
    ...(antialias ? { antialias: int(1) } : {}),
  });
}

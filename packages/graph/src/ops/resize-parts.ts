import { type DType, fromData, isFloat, LoomweightError } from "@loomweight/tensor";
import { floatOf, intOf, intsOf, textOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { knownNumbers, typeOf } from "../op.ts";
import { isTensor, type Value } from "../value.ts";
import type { DecomposedCall, Decomposition } from "./decompose.ts";
import { gather } from "./indexing.ts";
import { matMul } from "./matmul.ts";
import { badShape } from "./same-dtype.ts";
import { transpose } from "./shape.ts";

interface Axis {
  readonly axis: number;
  readonly size: number;
  readonly out: number;
  /** As the coordinates see it: given, or out / size. */
  readonly scale: number;
}

/** Axes that change, from `scales` or `sizes`, which must be constants. */
function resizedAxes(call: DecomposedCall, shape: readonly number[]): Axis[] {
  const [, , scaleInput, sizeInput] = call.inputs;
  const axes = (intsOf(call, "axes") ?? shape.map((_, axis) => axis)).map((axis) =>
    normalizeAxis(axis, shape.length, call.op),
  );
  const sizes = sizeInput === undefined ? undefined : knownNumbers(typeOf(sizeInput));
  const scales = scaleInput !== undefined && isTensor(scaleInput) ? elementsOf(scaleInput) : undefined;
  const policy = textOf(call, "keep_aspect_ratio_policy", "stretch");
  if (sizes !== undefined && sizes.length === axes.length) {
    const ratios = axes.map((axis, i) => sizes[i] / shape[axis]);
    const kept = policy === "not_larger" ? Math.min(...ratios) : policy === "not_smaller" ? Math.max(...ratios) : 0;
    return axes.map((axis, i) => {
      const out = kept === 0 ? sizes[i] : Math.round(kept * shape[axis]);
      return { axis, size: shape[axis], out, scale: kept === 0 ? out / shape[axis] : kept };
    });
  }
  if (scales !== undefined && scales.length === axes.length) {
    return axes.map((axis, i) => ({
      axis,
      size: shape[axis],
      out: Math.floor(shape[axis] * scales[i]),
      scale: scales[i],
    }));
  }
  throw badShape(call, "sizes or scales must be constants, one per axis");
}

/** Where in the input the place `o` of the output lies. */
function coordinate(call: DecomposedCall, { size, out, scale }: Axis, o: number): number {
  const mode = textOf(call, "coordinate_transformation_mode", "half_pixel");
  if (mode === "half_pixel") return (o + 0.5) / scale - 0.5;
  if (mode === "pytorch_half_pixel") return out > 1 ? (o + 0.5) / scale - 0.5 : 0;
  if (mode === "align_corners") return out > 1 ? (o * (size - 1)) / (out - 1) : 0;
  if (mode === "asymmetric") return o / scale;
  if (mode === "half_pixel_symmetric") return (size / 2) * (1 - out / (scale * size)) + (o + 0.5) / scale - 0.5;
  throw unsupported(call, `the coordinates "${mode}"`);
}

function unsupported(call: DecomposedCall, what: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_OP",
    problem: `Resize with ${what} is left to the runtime: it is not evaluated or differentiated here`,
    node: call.name,
  });
}

function nearestPlaces(call: DecomposedCall, axis: Axis): number[] {
  const rounding = textOf(call, "nearest_mode", "round_prefer_floor");
  const round = {
    round_prefer_floor: (x: number) => Math.ceil(x - 0.5),
    round_prefer_ceil: (x: number) => Math.floor(x + 0.5),
    floor: Math.floor,
    ceil: Math.ceil,
  }[rounding];
  if (round === undefined) throw unsupported(call, `the rounding "${rounding}"`);
  return Array.from({ length: axis.out }, (_, o) =>
    Math.min(axis.size - 1, Math.max(0, round(coordinate(call, axis, o)))),
  );
}

/** Weights [out, size] of linear or cubic interpolation; neighbours outside count as the edge. */
function weightMatrix(call: DecomposedCall, axis: Axis, mode: string): Float64Array {
  const { size, out } = axis;
  const matrix = new Float64Array(out * size);
  const cubic = floatOf(call, "cubic_coeff_a", -0.75);
  const excluded = intOf(call, "exclude_outside", 0) === 1;
  for (let o = 0; o < out; o++) {
    const x = coordinate(call, axis, o);
    const first = Math.floor(x);
    const t = x - first;
    const weights = mode === "linear" ? [1 - t, t] : cubicWeights(t, cubic);
    const start = mode === "linear" ? first : first - 1;
    const inside = weights.map((_, k) => start + k >= 0 && start + k < size);
    const total = excluded ? weights.reduce((sum, weight, k) => sum + (inside[k] ? weight : 0), 0) : 1;
    for (const [k, weight] of weights.entries()) {
      if (excluded && !inside[k]) continue;
      matrix[o * size + Math.min(size - 1, Math.max(0, start + k))] += weight / total;
    }
  }
  return matrix;
}

/** Keys' cubic convolution (1981) at distances 1 + t, t, 1 − t, 2 − t. */
function cubicWeights(t: number, a: number): number[] {
  const near = (d: number) => ((a + 2) * d - (a + 3)) * d * d + 1;
  const far = (d: number) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return [far(1 + t), near(t), near(1 - t), far(2 - t)];
}

/** x · weightsᵀ along one axis */
function interpolate(x: Value, weights: Float64Array, { axis, size, out }: Axis, dtype: DType): Value {
  const rank = x.shape.length;
  if (axis === rank - 2) return matMul(tensorOf(weights, [out, size], dtype), x);
  const turned = new Float64Array(weights.length);
  for (let o = 0; o < out; o++) for (let i = 0; i < size; i++) turned[i * out + o] = weights[o * size + i];
  const matrix = tensorOf(turned, [size, out], dtype);
  if (axis === rank - 1) return matMul(x, matrix);
  const perm = Array.from({ length: rank }, (_, at) => at);
  [perm[axis], perm[rank - 1]] = [rank - 1, axis]; // its own inverse
  return transpose(matMul(transpose(x, perm), matrix), perm);
}

/** Resize axis by axis: nearest picks rows, linear and cubic multiply by a matrix of weights. */
export const resizeByParts: Decomposition = (call) => {
  const x = call.inputs[0] as Value;
  const mode = textOf(call, "mode", "nearest");
  if (intOf(call, "antialias", 0) === 1) throw unsupported(call, "antialiasing");
  if (!["nearest", "linear", "cubic"].includes(mode)) throw unsupported(call, `the mode "${mode}"`);
  if (mode !== "nearest" && !isFloat(x.dtype)) throw unsupported(call, "interpolated integers");
  const shape = x.shape.map((dim) => {
    if (typeof dim !== "number") throw badShape(call, `[${x.shape}] has sizes that are not known`);
    return dim;
  });
  let out = x;
  for (const axis of resizedAxes(call, shape)) {
    if (axis.out === axis.size && axis.scale === 1) continue;
    if (mode === "nearest") {
      const places = BigInt64Array.from(nearestPlaces(call, axis), BigInt);
      out = gather(out, fromData("int64", places, [axis.out]), axis.axis);
    } else out = interpolate(out, weightMatrix(call, axis, mode), axis, x.dtype);
  }
  return [out];
};

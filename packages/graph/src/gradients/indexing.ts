import { fromData, type Tensor } from "@loomweight/tensor";
import { intOf, textOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { concreteShape, constantNumbers, reshapeLike, zeroBuffer, zerosLike } from "../gradient/algebra.ts";
import { defineGradients, type GradientCall, operand, unary } from "../gradient/rule.ts";
import { int64Vector } from "../op.ts";
import { div, mul, sub } from "../ops/elementwise.ts";
import { gather, gatherElements, gatherND, pad, scatterND, slice } from "../ops/indexing.ts";
import { cast, equal, where } from "../ops/logic.ts";
import { reduceSum } from "../ops/reduce.ts";
import { scatterElements } from "../ops/scatter.ts";
import { concat, expand, reshape, transpose, unsqueeze } from "../ops/shape.ts";
import { type Dim, isTensor, type Value } from "../value.ts";

/** Axis `axis` first, and the inverse. */
function axisFirst(rank: number, axis: number): { perm: number[]; inverse: number[] } {
  const perm = [axis, ...Array.from({ length: rank }, (_, at) => at).filter((at) => at !== axis)];
  const inverse = new Array<number>(rank);
  for (const [at, from] of perm.entries()) inverse[from] = at;
  return { perm, inverse };
}

/**
 * Rows of dy [.., picked …, ..] added up at the places of axis `axis` of `x` that they came from: the gradient of
 * picking `indices` along it. Indices may repeat.
 */
export function addAtIndices(x: Value, indices: Value, dy: Value, axis: number): Value {
  const rank = x.shape.length;
  const picked = indices.shape.length;
  const tuples = asTuples(indices, x.shape[axis]);
  if (axis === 0) return scatterND(zeroBuffer(x, dy), tuples, dy, "add");
  // The picked axes of dy and the axis of x come first, and go back.
  const leading = Array.from({ length: dy.shape.length }, (_, at) => at);
  const first = leading.slice(axis, axis + picked);
  const rest = leading.filter((at) => !first.includes(at));
  const { perm, inverse } = axisFirst(rank, axis);
  const turned = zeroBuffer({ ...(x as Tensor), shape: perm.map((at) => x.shape[at]) } as Tensor, dy);
  return transpose(scatterND(turned, tuples, transpose(dy, [...first, ...rest]), "add"), inverse);
}

/**
 * Indices with a last axis of 1, as ScatterND takes them. WebGPU has no kernels for int64 but those that read indices:
 * an int64 value picks from a constant 0, 1, 2, … of int32, and int32 becomes int64 at the end.
 */
function asTuples(indices: Value, size: Dim): Value {
  const last = [indices.shape.length];
  if (isTensor(indices)) return cast(unsqueeze(indices, last), "int64");
  if (indices.dtype === "int64" && typeof size !== "number") return unsqueeze(indices, last);
  const narrow = indices.dtype === "int64" ? gather(count(size as number), indices) : indices;
  return cast(unsqueeze(narrow, last), "int64");
}

const count = (size: number): Tensor =>
  fromData(
    "int32",
    Int32Array.from({ length: size }, (_, i) => i),
    [size],
  );

/** The same for indices known when building; places that nothing was picked from stay 0. */
export function addAtPlaces(x: Value, places: readonly number[], dy: Value, axis: number): Value {
  return addAtIndices(x, int64Vector(places), dy, axis);
}

interface Range {
  readonly axis: number;
  readonly start: number;
  readonly step: number;
}

/** Start and step of each sliced axis, with starts counted from the front. */
function sliceRanges(call: GradientCall, shape: readonly number[]): Range[] {
  const starts = constantNumbers(call, 1) ?? [];
  const axes = constantNumbers(call, 3) ?? starts.map((_, axis) => axis);
  const steps = constantNumbers(call, 4);
  return axes.map((given, i) => {
    const axis = normalizeAxis(given, shape.length, call.op);
    const step = steps?.[i] ?? 1;
    const from = starts[i] < 0 ? starts[i] + shape[axis] : starts[i];
    return { axis, step, start: step > 0 ? Math.max(0, from) : Math.min(shape[axis] - 1, from) };
  });
}

/** Zeros around and between the parts of dy, so that it lies where the slice was cut from. */
function unslice(call: GradientCall, x: Value, dy: Value): Value {
  const shape = concreteShape(call, x);
  let out = dy;
  const sizes = [...concreteShape(call, dy)];
  if (sizes.includes(0)) return zerosLike(x);
  const before = shape.map(() => 0);
  for (const { axis, start, step } of sliceRanges(call, shape)) {
    const count = sizes[axis];
    const stride = Math.abs(step);
    if (step < 0) out = slice(out, { starts: [-1], ends: [Number.NEGATIVE_INFINITY], axes: [axis], steps: [-1] });
    before[axis] = step > 0 ? start : start - (count - 1) * stride;
    if (stride === 1) continue;
    // n → n × stride with zeros after each; the last ones may reach past the end and are cut off below.
    const apart = [...sizes.slice(0, axis + 1), 1, ...sizes.slice(axis + 1)];
    const pads = new Array<number>(2 * apart.length).fill(0);
    pads[apart.length + axis + 1] = stride - 1;
    sizes[axis] = count * stride;
    out = reshape(pad(reshape(out, apart), pads), sizes);
  }
  return fit(out, sizes, before, shape);
}

/** `x` placed into zeros of `shape` at `before`; what reaches beyond, at either end, is cut off. */
export function fit(x: Value, sizes: readonly number[], before: readonly number[], shape: readonly number[]): Value {
  const axes = shape.map((_, axis) => axis);
  const cut = axes.filter((axis) => before[axis] < 0 || before[axis] + sizes[axis] > shape[axis]);
  const starts = cut.map((axis) => Math.max(0, -before[axis]));
  const ends = cut.map((axis) => Math.min(sizes[axis], shape[axis] - before[axis]));
  const inside = cut.length === 0 ? x : slice(x, { starts, ends, axes: cut });
  const left = axes.map((axis) => Math.max(0, before[axis]));
  const right = axes.map((axis) => Math.max(0, shape[axis] - before[axis] - sizes[axis]));
  return [...left, ...right].every((each) => each === 0) ? inside : pad(inside, [...left, ...right]);
}

/** Where each place of a padded axis was read from; -1 = filled in. */
function padSource(mode: string, size: number, before: number, after: number): number[] {
  return Array.from({ length: before + size + after }, (_, i) => {
    const at = i - before;
    if (at >= 0 && at < size) return at;
    if (mode === "edge") return at < 0 ? 0 : size - 1;
    if (mode === "wrap") return ((at % size) + size) % size;
    if (mode !== "reflect") return -1;
    const period = Math.max(1, 2 * (size - 1));
    const folded = ((at % period) + period) % period;
    return folded < size ? folded : period - folded;
  });
}

function unpad(call: GradientCall, x: Value, dy: Value): Value {
  const shape = concreteShape(call, x);
  const mode = textOf(call, "mode", "constant");
  const pads = constantNumbers(call, 1) ?? [];
  const axes = constantNumbers(call, 3)?.map((axis) => normalizeAxis(axis, shape.length, call.op));
  const [before, after] = [shape.map(() => 0), shape.map(() => 0)];
  for (const [i, axis] of (axes ?? shape.map((_, at) => at)).entries()) {
    before[axis] = pads[i];
    after[axis] = pads[i + pads.length / 2];
  }
  if (mode === "constant") {
    return fit(
      dy,
      concreteShape(call, dy),
      before.map((each) => -each),
      shape,
    );
  }
  let out = dy;
  const sizes = [...concreteShape(call, dy)];
  for (const [axis, size] of shape.entries()) {
    if (before[axis] === 0 && after[axis] === 0) continue;
    const places = padSource(mode, size, before[axis], after[axis]);
    sizes[axis] = size;
    out = addAtPlaces({ ...(x as Tensor), shape: sizes } as Tensor, places, out, axis);
  }
  return out;
}

/** Index tuples of a GatherND with batch axes, with the batch's own place in front. */
function withBatch(indices: Value, batch: number, call: GradientCall): Value {
  if (batch === 0) return indices;
  const shape = concreteShape(call, indices).slice(0, -1);
  const parts = Array.from({ length: batch }, (_, axis) => {
    const places = BigInt64Array.from({ length: shape[axis] }, (_, i) => BigInt(i));
    const along = [...shape.map((_, at) => (at === axis ? shape[axis] : 1)), 1];
    return expand(fromData("int64", places, along), [...shape, 1]);
  });
  return concat([...parts, indices], shape.length);
}

interface Scatter {
  /** Elements of a value of the data's shape at the places that are written. */
  pick(from: Value): Value;
  /** Updates written into a value of the data's shape. */
  put(into: Value, updates: Value, reduction?: "none" | "add" | "mul" | "min" | "max"): Value;
}

/** Data and updates of a scatter, for each way to combine them. */
function scatterGradient(call: GradientCall, { pick, put }: Scatter): readonly (Value | undefined)[] {
  const [dy] = call.upstream;
  if (dy === undefined) return [];
  const [data, updates] = [operand(call, 0), operand(call, 2)];
  const reduction = textOf(call, "reduction", "none");
  const y = call.outputs[0];
  if (reduction === "none") {
    return [call.wants[0] ? put(dy, zerosLike(updates)) : undefined, undefined, call.wants[2] ? pick(dy) : undefined];
  }
  if (reduction === "add") return [dy, undefined, call.wants[2] ? pick(dy) : undefined];
  if (reduction === "max" || reduction === "min") {
    // All entries that equal the result share: the data's and each update's.
    const own = cast(equal(data, y), data.dtype);
    const hits = cast(equal(updates, pick(y)), data.dtype);
    const share = div(dy, put(own, hits, "add"));
    return [mul(share, own), undefined, call.wants[2] ? mul(pick(share), hits) : undefined];
  }
  // mul: the product of the other factors, zeros counted apart so that it is exact.
  const zeroData = equal(data, 0);
  const zeroUpdates = equal(updates, 0);
  const factor = put(where(zeroData, 1, data), where(zeroUpdates, 1, updates), "mul");
  const zeros = put(cast(zeroData, data.dtype), cast(zeroUpdates, data.dtype), "add");
  const none = mul(dy, where(equal(zeros, 0), factor, 0));
  const one = mul(dy, where(equal(zeros, 1), factor, 0));
  return [
    call.wants[0] ? where(zeroData, one, div(none, where(zeroData, 1, data))) : undefined,
    undefined,
    call.wants[2] ? where(zeroUpdates, pick(one), div(pick(none), where(zeroUpdates, 1, updates))) : undefined,
  ];
}

/** Ops that pick, place or cut elements. */
export const indexingGradients = /* @__PURE__ */ defineGradients({
  Slice: unary(({ x, dy, call }) => unslice(call, x, dy)),
  Gather: unary(({ x, dy, call }) => {
    const axis = normalizeAxis(intOf(call, "axis", 0), x.shape.length, call.op);
    return addAtIndices(x, operand(call, 1), dy, axis);
  }),
  GatherElements: unary(({ x, dy, call }) => {
    const axis = normalizeAxis(intOf(call, "axis", 0), x.shape.length, call.op);
    return scatterElements(zeroBuffer(x, dy), operand(call, 1), dy, { axis, reduction: "add" });
  }),
  GatherND: unary(({ x, dy, call }) => {
    const indices = withBatch(operand(call, 1), intOf(call, "batch_dims", 0), call);
    return scatterND(zeroBuffer(x, dy), indices, dy, "add");
  }),
  ScatterND: (call) => {
    const indices = operand(call, 1);
    return scatterGradient(call, {
      pick: (from) => gatherND(from, indices),
      put: (into, updates, reduction) => scatterND(into, indices, updates, reduction),
    });
  },
  ScatterElements: (call) => {
    const indices = operand(call, 1);
    const axis = intOf(call, "axis", 0);
    return scatterGradient(call, {
      pick: (from) => gatherElements(from, indices, axis),
      put: (into, updates, reduction) => scatterElements(into, indices, updates, { axis, reduction }),
    });
  },
  Pad(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const dx = unpad(call, operand(call, 0), dy);
    const fill = call.inputs[2];
    if (!call.wants[2] || fill === undefined) return [dx];
    // What was filled in: all of dy but what came from x.
    const filled = sub(reduceSum(dy, undefined, false), reduceSum(dx, undefined, false));
    return [dx, undefined, textOf(call, "mode", "constant") === "constant" ? reshapeLike(filled, fill) : undefined];
  },
});

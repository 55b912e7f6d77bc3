import {
  allocate,
  contiguousData,
  type DType,
  elementCount,
  fromData,
  type Storage,
  type Tensor,
} from "@loomweight/tensor";
import { floatOf, int, intOf, intsOf, text, textOf } from "../attributes.ts";
import { addDims, normalizeAxis, subtractDims, unknownDim } from "../dims.ts";
import { copyCodes, elementsOf, tensorOf } from "../evaluate/numbers.ts";
import {
  applyOne,
  type ConstantCall,
  defineOps,
  int64Vector,
  integersOf,
  knownElements,
  knownNumbers,
  type OpCall,
  ruleOf,
  type ValueType,
} from "../op.ts";
import type { Dim, Operand, Value } from "../value.ts";
import { badShape, inputOf, sameDtype } from "./same-dtype.ts";
import { combiner } from "./scatter.ts";
import { requireIndices } from "./shape.ts";

/** Index brought into [0, size); throws `SHAPE_MISMATCH` when it lies outside. */
function within(call: { op: string; name?: string }, index: number, size: number): number {
  const positive = index < 0 ? index + size : index;
  if (positive < 0 || positive >= size) throw badShape(call, `index ${index} lies outside an axis of ${size}`);
  return positive;
}

interface SliceRange {
  readonly axis: number;
  readonly start: Dim;
  readonly end: Dim;
  readonly step: number;
}

/** Elements of an integer input; bounds such as 2^63 − 1, "to the end", are brought into the range of a number. */
function bounded(value: ValueType): readonly Dim[] | undefined {
  const { tensor } = value;
  if (value.known !== undefined || tensor === undefined || tensor.shape.length !== 1) return knownElements(value);
  const most = Number.MAX_SAFE_INTEGER;
  return integersOf(tensor).map((each) => Math.min(most, Math.max(-most, each)));
}

/** The ranges of a Slice, from inputs (opset 10 and later) or attributes; undefined parts are not known. */
function sliceRanges(call: OpCall, rank: number): (SliceRange | { axis: number; start: undefined })[] | undefined {
  const fromInputs = call.inputs.length > 1;
  const list = (index: number, name: string) =>
    fromInputs ? (call.inputs[index] === undefined ? undefined : bounded(call.inputs[index])) : intsOf(call, name);
  const starts = list(1, "starts");
  const ends = list(2, "ends");
  const given = fromInputs ? call.inputs[3] !== undefined : intsOf(call, "axes") !== undefined;
  const axes = given ? list(3, "axes") : undefined;
  if (given && (axes === undefined || axes.some((axis) => typeof axis !== "number"))) return undefined;
  const steps = call.inputs[4] === undefined ? undefined : knownNumbers(call.inputs[4]);
  const stepless = call.inputs[4] !== undefined && steps === undefined;
  const count = axes?.length ?? starts?.length ?? inputOf(call, 1).shape[0];
  if (typeof count !== "number") return undefined;
  if (count > rank) throw badShape(call, `${count} ranges for ${rank} axes`);
  return Array.from({ length: count }, (_, i) => {
    const axis = normalizeAxis((axes?.[i] as number) ?? i, rank, call.op);
    if (starts === undefined || ends === undefined || stepless) return { axis, start: undefined };
    const step = steps?.[i] ?? 1;
    if (step === 0) throw badShape(call, "a step of 0 goes nowhere");
    return { axis, start: starts[i], end: ends[i], step };
  });
}

function slicedSize(size: Dim, { start, end, step }: SliceRange): Dim {
  if (typeof start === "number" && typeof end === "number" && typeof size === "number") {
    const [from, to] = clampRange(size, start, end, step);
    return Math.max(0, Math.ceil((to - from) / step));
  }
  if (step !== 1) return start === 0 && step === -1 ? size : unknownDim;
  const whole = typeof end === "number" && end >= 2 ** 31 - 1;
  // Sizes are never negative, so a symbolic bound counts from the front; -k counts from the end.
  const stop = whole ? size : typeof end === "number" && end < 0 ? addDims(size, end) : end;
  const from = typeof start === "number" && start < 0 ? addDims(size, start) : start;
  if (stop === size) return start === 0 ? size : subtractDims(size, from);
  // A bound that may reach past the end is cut off there: known only where it is the size itself or lies within it.
  if (typeof stop === "string" && typeof size === "string" && size.includes(stop)) return subtractDims(stop, from);
  if (typeof start === "number" && typeof end === "number" && end < 0 && start === 0) return stop;
  return typeof stop === "number" && typeof from === "number" && stop <= 1 ? Math.max(0, stop - from) : unknownDim;
}

function clampRange(size: number, start: number, end: number, step: number): [number, number] {
  const low = step > 0 ? 0 : -1;
  const high = step > 0 ? size : size - 1;
  const clamp = (at: number) => Math.min(high, Math.max(low, at < 0 ? at + size : at));
  return [step > 0 ? clamp(start) : Math.min(size - 1, clamp(start)), clamp(end)];
}

/** Ops that pick, place or cut elements. */
export const indexingOps = /* @__PURE__ */ defineOps({
  Slice: {
    inputs: [1, 5],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const out = [...shape];
      const ranges = sliceRanges(call, shape.length);
      if (ranges === undefined) return [{ dtype, shape: out.fill(unknownDim) }];
      for (const range of ranges) {
        out[range.axis] = range.start === undefined ? unknownDim : slicedSize(shape[range.axis], range as SliceRange);
      }
      return [{ dtype, shape: out, known: slicedElements(call, ranges) }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const constants = { ...call, inputs: call.inputs.map(constantType) };
      const stride = [...x.stride];
      let { offset } = x;
      for (const range of (sliceRanges(constants, x.shape.length) ?? []) as SliceRange[]) {
        const { axis, step } = range;
        const [from] = clampRange(x.shape[axis], range.start as number, range.end as number, step);
        if (call.types[0].shape[axis] > 0) offset += from * x.stride[axis];
        stride[axis] = x.stride[axis] * step;
      }
      return [{ ...x, shape: call.types[0].shape, stride, offset }];
    },
    samples: [
      {
        inputs: [
          [4, 5],
          { shape: [2], dtype: "int64", values: [1, -1] },
          { shape: [2], dtype: "int64", values: [3, -4] },
          { shape: [2], dtype: "int64", values: [0, 1] },
          { shape: [2], dtype: "int64", values: [1, -1] },
        ],
      },
      {
        inputs: [[4, 5], { shape: [1], dtype: "int64", values: [-2] }, { shape: [1], dtype: "int64", values: [100] }],
      },
      {
        inputs: [
          [4, 5],
          { shape: [1], dtype: "int64", values: [4] },
          { shape: [1], dtype: "int64", values: [2] },
          { shape: [1], dtype: "int64", values: [1] },
        ],
      },
    ],
  },
  Gather: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const indices = requireIndices(call, 1);
      const axis = normalizeAxis(intOf(call, "axis", 0), shape.length, call.op);
      const known = knownElements(call.inputs[0]);
      const at = knownNumbers(indices);
      const picked =
        shape.length === 1 && known !== undefined && at !== undefined
          ? at.map((index) => known[within(call, index, known.length)])
          : undefined;
      return [{ dtype, shape: [...shape.slice(0, axis), ...indices.shape, ...shape.slice(axis + 1)], known: picked }];
    },
    evaluate(call) {
      const [x, indices] = call.inputs as [Tensor, Tensor];
      const axis = normalizeAxis(intOf(call, "axis", 0), x.shape.length, call.op);
      const at = integersOf(indices);
      const outer = elementCount(x.shape.slice(0, axis));
      const inner = elementCount(x.shape.slice(axis + 1));
      const size = x.shape[axis];
      const data = contiguousData(x);
      const out = allocate(x.dtype, outer * at.length * inner);
      for (let i = 0; i < outer; i++) {
        for (let j = 0; j < at.length; j++) {
          const from = (i * size + within(call, at[j], size)) * inner;
          copyCodes(out, (i * at.length + j) * inner, data, from, inner);
        }
      }
      return [fromData<DType>(x.dtype, out, call.types[0].shape)];
    },
    samples: [
      { inputs: [[4, 3], { shape: [2, 2], dtype: "int64", values: [0, 3, -1, 1] }] },
      { inputs: [[2, 4, 3], { shape: [], dtype: "int64", values: [2] }], attributes: { axis: int(1) } },
    ],
  },
  GatherElements: {
    inputs: [2, 2],
    infer(call) {
      const indices = requireIndices(call, 1);
      return [{ dtype: inputOf(call, 0).dtype, shape: indices.shape }];
    },
    evaluate(call) {
      const [x, indices] = call.inputs as [Tensor, Tensor];
      const axis = normalizeAxis(intOf(call, "axis", 0), x.shape.length, call.op);
      const at = integersOf(indices);
      const data = contiguousData(x);
      const out = allocate(x.dtype, at.length);
      const place = positions(indices.shape, x.shape, axis);
      const step = elementCount(x.shape.slice(axis + 1));
      for (let i = 0; i < at.length; i++) {
        copyCodes(out, i, data, place(i) + within(call, at[i], x.shape[axis]) * step, 1);
      }
      return [fromData<DType>(x.dtype, out, indices.shape)];
    },
    samples: [
      {
        inputs: [[3, 3], { shape: [2, 3], dtype: "int64", values: [0, 1, 2, -1, 0, 1] }],
        attributes: { axis: int(0) },
      },
      { inputs: [[3, 4], { shape: [3, 2], dtype: "int64", values: [0, 1, 3, 2, 1, 1] }], attributes: { axis: int(1) } },
    ],
  },
  GatherND: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const indices = requireIndices(call, 1).shape;
      const batch = intOf(call, "batch_dims", 0);
      const depth = indices[indices.length - 1];
      if (typeof depth !== "number") throw badShape(call, "the last size of the indices is not known");
      return [{ dtype, shape: [...indices.slice(0, -1), ...shape.slice(batch + depth)] }];
    },
    evaluate: (call) => [gatherTuples(call)],
    samples: [
      { inputs: [[2, 3, 4], { shape: [2, 2], dtype: "int64", values: [0, 1, 1, 2] }] },
      { inputs: [[2, 3, 4], { shape: [2, 1], dtype: "int64", values: [1, 0] }], attributes: { batch_dims: int(1) } },
    ],
  },
  ScatterND: {
    inputs: [3, 3],
    infer(call) {
      requireIndices(call, 1);
      return [{ dtype: sameDtype(call, [0, 2]), shape: inputOf(call, 0).shape }];
    },
    evaluate: (call) => [scatter(call)],
    samples: [
      { inputs: [[4, 3], { shape: [2, 1], dtype: "int64", values: [2, 0] }, [2, 3]] },
      { inputs: [[4, 3], { shape: [2, 2], dtype: "int64", values: [1, 2, 3, 0] }, [2]] },
      {
        inputs: [[4, 3], { shape: [3, 1], dtype: "int64", values: [1, 1, 3] }, [3, 3]],
        attributes: { reduction: text("add") },
      },
    ],
  },
  Pad: {
    inputs: [1, 4],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const pads = call.inputs[1] === undefined ? intsOf(call, "pads") : knownElements(call.inputs[1]);
      const axes =
        call.inputs[3] === undefined
          ? shape.map((_, axis) => axis)
          : knownNumbers(call.inputs[3])?.map((axis) => normalizeAxis(axis, shape.length, call.op));
      if (pads === undefined || axes === undefined) return [{ dtype, shape: shape.map(() => unknownDim) }];
      if (pads.length !== 2 * axes.length)
        throw badShape(call, `${axes.length} axes need ${2 * axes.length} pads, not ${pads.length}`);
      const out = [...shape];
      for (const [i, axis] of axes.entries()) out[axis] = addDims(addDims(out[axis], pads[i]), pads[i + axes.length]);
      return [{ dtype, shape: out }];
    },
    evaluate: (call) => [padded(call)],
    samples: [
      { inputs: [[2, 3], { shape: [4], dtype: "int64", values: [0, 1, 1, 2] }, { shape: [], values: [1.5] }] },
      { inputs: [[2, 3], { shape: [4], dtype: "int64", values: [1, 0, 0, 2] }], attributes: { mode: text("edge") } },
      { inputs: [[3, 3], { shape: [4], dtype: "int64", values: [2, 1, 0, 2] }], attributes: { mode: text("reflect") } },
      { inputs: [[3, 4], { shape: [4], dtype: "int64", values: [0, -1, 0, -2] }] },
    ],
  },
});

const constantType = (tensor: Tensor | undefined): ValueType | undefined =>
  tensor && { dtype: tensor.dtype, shape: tensor.shape, tensor };

function slicedElements(
  call: OpCall,
  ranges: readonly (SliceRange | { axis: number; start: undefined })[],
): Dim[] | undefined {
  const known = knownElements(call.inputs[0]);
  const [range] = ranges;
  if (known === undefined || inputOf(call, 0).shape.length !== 1 || ranges.length !== 1) return undefined;
  if (range.start === undefined || typeof range.start !== "number" || !("end" in range)) return undefined;
  if (typeof range.end !== "number") return undefined;
  const [from, to] = clampRange(known.length, range.start, range.end, range.step);
  const out: Dim[] = [];
  for (let at = from; range.step > 0 ? at < to : at > to; at += range.step) out.push(known[at]);
  return out;
}

/** Maps a row-major position in `from` to one in `to` with the coordinate along `axis` left out. */
function positions(from: readonly number[], to: readonly number[], axis: number): (position: number) => number {
  const steps = to.map((_, at) => elementCount(to.slice(at + 1)));
  return (position) => {
    let rest = position;
    let at = 0;
    for (let i = from.length - 1; i >= 0; i--) {
      const coordinate = rest % from[i];
      rest = (rest - coordinate) / from[i];
      if (i !== axis) at += coordinate * steps[i];
    }
    return at;
  };
}

function scatter(call: ConstantCall): Tensor {
  const [x, indices, updates] = call.inputs as [Tensor, Tensor, Tensor];
  const reduction = textOf(call, "reduction", "none");
  const depth = indices.shape[indices.shape.length - 1];
  const inner = elementCount(x.shape.slice(depth));
  const out = allocate(x.dtype, elementCount(x.shape));
  copyCodes(out, 0, contiguousData(x), 0, (out as Storage & { length: number }).length);
  const at = integersOf(indices);
  if (reduction !== "none") return scatterCombined(call, x, updates, at, depth, reduction);
  const data = contiguousData(updates);
  for (let row = 0; row < at.length / depth; row++) {
    let place = 0;
    for (let k = 0; k < depth; k++) place = place * x.shape[k] + within(call, at[row * depth + k], x.shape[k]);
    copyCodes(out, place * inner, data, row * inner, inner);
  }
  return fromData<DType>(x.dtype, out, x.shape);
}

function scatterCombined(
  call: ConstantCall,
  x: Tensor,
  updates: Tensor,
  at: readonly number[],
  depth: number,
  reduction: string,
): Tensor {
  const combine = combiner(reduction);
  if (combine === undefined) throw badShape(call, `there is no reduction "${reduction}"`);
  const inner = elementCount(x.shape.slice(depth));
  const out = elementsOf(x).slice();
  const data = elementsOf(updates);
  for (let row = 0; row < at.length / depth; row++) {
    let place = 0;
    for (let k = 0; k < depth; k++) place = place * x.shape[k] + within(call, at[row * depth + k], x.shape[k]);
    for (let i = 0; i < inner; i++) out[place * inner + i] = combine(out[place * inner + i], data[row * inner + i]);
  }
  return tensorOf(out, x.shape, x.dtype);
}

/** Slices of x at index tuples, with the first `batch` axes shared. */
function gatherTuples(call: ConstantCall): Tensor {
  const [x, indices] = call.inputs as [Tensor, Tensor];
  const batch = intOf(call, "batch_dims", 0);
  const depth = indices.shape[indices.shape.length - 1];
  const inner = elementCount(x.shape.slice(batch + depth));
  const at = integersOf(indices);
  const tuples = at.length / Math.max(1, depth);
  const perBatch = tuples / Math.max(1, elementCount(indices.shape.slice(0, batch)));
  const data = contiguousData(x);
  const out = allocate(x.dtype, tuples * inner);
  for (let tuple = 0; tuple < tuples; tuple++) {
    let place = Math.floor(tuple / perBatch);
    for (let k = 0; k < depth; k++) {
      place = place * x.shape[batch + k] + within(call, at[tuple * depth + k], x.shape[batch + k]);
    }
    copyCodes(out, tuple * inner, data, place * inner, inner);
  }
  return fromData<DType>(x.dtype, out, call.types[0].shape);
}

function padded(call: ConstantCall): Tensor {
  const x = call.inputs[0] as Tensor;
  const { dtype, shape } = call.types[0];
  const mode = textOf(call, "mode", "constant");
  const pads = call.inputs[1] === undefined ? (intsOf(call, "pads") ?? []) : integersOf(call.inputs[1]);
  const axes = call.inputs[3] === undefined ? shape.map((_, axis) => axis) : integersOf(call.inputs[3]);
  const before = shape.map(() => 0);
  for (const [i, axis] of axes.entries()) before[normalizeAxis(axis, shape.length, call.op)] = pads[i];
  const out = allocate(dtype, elementCount(shape));
  const fill = call.inputs[2];
  if (fill !== undefined) (out as Float32Array).fill((contiguousData(fill) as Float32Array)[0]);
  else if (floatOf(call, "value", 0) !== 0) (out as Float32Array).fill(floatOf(call, "value", 0)); // before opset 11
  const data = contiguousData(x);
  const source = (coordinate: number, size: number): number => {
    if (coordinate >= 0 && coordinate < size) return coordinate;
    if (mode === "edge") return coordinate < 0 ? 0 : size - 1;
    if (mode === "wrap") return ((coordinate % size) + size) % size;
    if (mode !== "reflect") return -1;
    const period = Math.max(1, 2 * (size - 1));
    const folded = ((coordinate % period) + period) % period;
    return folded < size ? folded : period - folded;
  };
  const index = shape.map(() => 0);
  for (let i = 0; i < elementCount(shape); i++) {
    let at = 0;
    for (let axis = 0; axis < shape.length && at >= 0; axis++) {
      const coordinate = source(index[axis] - before[axis], x.shape[axis]);
      at = coordinate < 0 ? -1 : at * x.shape[axis] + coordinate;
    }
    if (at >= 0) copyCodes(out, i, data, at, 1);
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
  }
  return fromData<DType>(dtype, out, shape);
}

/** Bounds of a slice: one number or computed value per axis of `axes`. */
export interface SliceOptions {
  readonly starts: readonly number[] | Value;
  /** Counted from the end where negative; `Infinity` = to the end. */
  readonly ends: readonly number[] | Value;
  /** Default: the first axes. */
  readonly axes?: readonly number[];
  /** Default 1. */
  readonly steps?: readonly number[];
}

const bounds = (values: readonly number[] | Value): Value =>
  Array.isArray(values)
    ? int64Vector(
        values.map((value) =>
          value === Number.POSITIVE_INFINITY
            ? 2n ** 63n - 1n
            : value === Number.NEGATIVE_INFINITY
              ? -(2n ** 63n)
              : value,
        ),
      )
    : (values as Value);

/** Part of `x` along `axes`. A tensor gives a view. */
export function slice(
  x: Tensor,
  options: SliceOptions & { starts: readonly number[]; ends: readonly number[] },
): Tensor;
export function slice(x: Value, options: SliceOptions): Value;
export function slice(x: Value, { starts, ends, axes, steps }: SliceOptions): Value {
  const operands = [x, bounds(starts), bounds(ends), axes && int64Vector(axes), steps && int64Vector(steps)];
  return applyOne(ruleOf(indexingOps, "Slice"), operands);
}

const indexOperand = (indices: Value | number | readonly number[]): Value =>
  typeof indices === "number"
    ? fromData("int64", BigInt64Array.of(BigInt(indices)), [])
    : Array.isArray(indices)
      ? int64Vector(indices)
      : (indices as Value);

/** Rows (or slices along `axis`, default 0) picked by int64 indices; the indices' shape takes the axis's place. */
export function gather(x: Tensor, indices: Tensor | number | readonly number[], axis?: number): Tensor;
export function gather(x: Value, indices: Value | number | readonly number[], axis?: number): Value;
export function gather(x: Value, indices: Value | number | readonly number[], axis = 0): Value {
  return applyOne(ruleOf(indexingOps, "Gather"), [x, indexOperand(indices)], axis === 0 ? {} : { axis: int(axis) });
}

/** One element per index: out[i][j] = x[i][indices[i][j]] for axis 1. */
export function gatherElements(x: Tensor, indices: Tensor, axis?: number): Tensor;
export function gatherElements(x: Value, indices: Value, axis?: number): Value;
export function gatherElements(x: Value, indices: Value, axis = 0): Value {
  return applyOne(ruleOf(indexingOps, "GatherElements"), [x, indices], { axis: int(axis) });
}

/** out[...] = x[indices[...]] with index tuples along the last axis. */
export function gatherND(x: Value, indices: Value, batchDims = 0): Value {
  return applyOne(ruleOf(indexingOps, "GatherND"), [x, indices], { batch_dims: int(batchDims) });
}

/** `x` with `updates` written at the index tuples; `reduction` combines with what is there. */
export function scatterND(x: Tensor, indices: Tensor, updates: Tensor): Tensor;
export function scatterND(
  x: Value,
  indices: Value,
  updates: Value,
  reduction?: "none" | "add" | "mul" | "min" | "max",
): Value;
export function scatterND(x: Value, indices: Value, updates: Value, reduction = "none"): Value {
  return applyOne(
    ruleOf(indexingOps, "ScatterND"),
    [x, indices, updates],
    reduction === "none" ? {} : { reduction: text(reduction) },
  );
}

/** Padded before and after each axis: pads = [before of axis 0, …, after of axis 0, …]; `value` default 0. */
export function pad(x: Tensor, pads: readonly number[], options?: PadOptions): Tensor;
export function pad(x: Value, pads: readonly number[] | Value, options?: PadOptions): Value;
export function pad(x: Value, pads: readonly number[] | Value, { value, mode = "constant" }: PadOptions = {}): Value {
  const operands: (Operand | undefined)[] = [x, bounds(pads), value];
  return applyOne(ruleOf(indexingOps, "Pad"), operands, mode === "constant" ? {} : { mode: text(mode) });
}

export interface PadOptions {
  readonly value?: Operand;
  readonly mode?: "constant" | "edge" | "reflect" | "wrap";
}

import { allocate, contiguousData, type DType, elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { int, intOf, ints, intsOf } from "../attributes.ts";
import {
  addDims,
  broadcast,
  divideExactly,
  isConcrete,
  multiplyDims,
  normalizeAxis,
  productOf,
  unknownDim,
} from "../dims.ts";
import { copyCodes, reshaped } from "../evaluate/numbers.ts";
import { broadcastStride } from "../evaluate/walk.ts";
import {
  apply,
  applyOne,
  defineOps,
  int64Vector,
  integersOf,
  knownElements,
  knownNumbers,
  type OpCall,
  type OpRule,
  ruleOf,
  type ValueType,
} from "../op.ts";
import { type Dim, isTensor, type Value } from "../value.ts";
import { badShape, inputOf, requireDtype, sameDtype } from "./same-dtype.ts";

/** Axes from the second input (opset 13 and later) or the attribute of before; undefined when they are not known. */
export function axesOf(call: OpCall, index: number, rank: number): number[] | undefined {
  const given = call.inputs[index];
  const axes = given === undefined ? intsOf(call, "axes") : knownNumbers(given);
  return axes?.map((axis) => normalizeAxis(axis, rank, call.op));
}

/** The axes input of a constant call, as `axesOf`. */
export function constantAxes(call: {
  inputs: readonly (Tensor | undefined)[];
  attributes: OpCall["attributes"];
  op: string;
}): number[] | undefined {
  const given = call.inputs[1];
  return given === undefined ? intsOf(call, "axes") : integersOf(given);
}

/** More axes than any real tensor has; a file may claim any number. */
const mostAxes = 64;

/** A shape of this rank of which nothing else is known; throws `SHAPE_MISMATCH` when the rank is absurd. */
export function unknownShape(call: OpCall, rank: number): Dim[] {
  if (rank > mostAxes) throw badShape(call, `a tensor of ${rank} axes`);
  return new Array<Dim>(rank).fill(unknownDim);
}

function reshapeTo(call: OpCall): Dim[] {
  const { shape } = inputOf(call, 0);
  const target = inputOf(call, 1);
  const wanted = knownElements(target);
  if (wanted === undefined) {
    const rank = target.shape[0];
    if (typeof rank !== "number") throw badShape(call, "the length of the target shape is not known");
    return unknownShape(call, rank);
  }
  const keepZero = intOf(call, "allowzero", 0) === 1;
  const out = wanted.map((dim, axis) => (dim === 0 && !keepZero ? shape[axis] : dim));
  if (out.includes(undefined as never)) {
    throw badShape(call, `0 in [${wanted}] copies an axis that [${shape}] does not have`);
  }
  const open = out.indexOf(-1);
  if (out.some((dim) => typeof dim === "number" && dim < -1) || open !== out.lastIndexOf(-1)) {
    throw badShape(call, `[${wanted}] is no shape to reshape to`, "One size may be -1.");
  }
  if (open >= 0) {
    out[open] = 1;
    const rest = productOf(out);
    const total = productOf(shape);
    const size = divideExactly(total, rest);
    if (size === undefined && typeof total === "number" && typeof rest === "number") {
      throw badShape(call, `[${shape}] cannot become [${wanted}]`);
    }
    out[open] = size ?? unknownDim;
  } else if (isConcrete(shape) && isConcrete(out) && elementCount(shape) !== elementCount(out)) {
    throw badShape(call, `[${shape}] has ${elementCount(shape)} elements, [${out}] has ${elementCount(out)}`);
  }
  return out;
}

function reshapeRule(rule: Pick<OpRule, "inputs" | "samples"> & { shape: (call: OpCall) => Dim[] }): OpRule {
  return {
    inputs: rule.inputs,
    infer(call) {
      const { dtype } = inputOf(call, 0);
      const shape = rule.shape(call);
      return [{ dtype, shape, known: shape.length <= 1 ? knownElements(call.inputs[0]) : undefined }];
    },
    evaluate: (call) => [reshaped(call.inputs[0] as Tensor, call.types[0].shape)],
    samples: rule.samples,
  };
}

/** Ops that change how elements are arranged, not what they are. */
export const shapeOps = /* @__PURE__ */ defineOps({
  Reshape: reshapeRule({
    inputs: [2, 2],
    shape: reshapeTo,
    samples: [
      { inputs: [[2, 6], { shape: [3], dtype: "int64", values: [0, -1, 3] }] },
      { inputs: [[2, 3], { shape: [1], dtype: "int64", values: [6] }] },
      { inputs: [[1], { shape: [0], dtype: "int64", values: [] }] },
    ],
  }),
  Squeeze: reshapeRule({
    inputs: [1, 2],
    shape(call) {
      const { shape } = inputOf(call, 0);
      const given = axesOf(call, 1, shape.length);
      const named = call.inputs[1] ?? call.attributes.axes;
      if (given === undefined && named !== undefined) {
        const count = call.inputs[1]?.shape[0];
        if (typeof count !== "number") throw badShape(call, "the number of axes to remove is not known");
        return unknownShape(call, Math.max(0, shape.length - count));
      }
      if (given === undefined && !isConcrete(shape)) {
        throw badShape(call, `which sizes of [${shape}] are 1 is not known`, "Name the axes.");
      }
      const axes = given ?? shape.flatMap((dim, axis) => (dim === 1 ? [axis] : []));
      if (axes.some((axis) => typeof shape[axis] === "number" && shape[axis] !== 1)) {
        throw badShape(call, `axes ${axes} of [${shape}] are not all 1`);
      }
      return shape.filter((_, axis) => !axes.includes(axis));
    },
    samples: [{ inputs: [[2, 1, 3, 1], { shape: [2], dtype: "int64", values: [1, -1] }] }, { inputs: [[1, 3]] }],
  }),
  Unsqueeze: reshapeRule({
    inputs: [1, 2],
    shape(call) {
      const { shape } = inputOf(call, 0);
      const given = call.inputs[1] === undefined ? intsOf(call, "axes") : knownNumbers(call.inputs[1]);
      if (given === undefined) throw badShape(call, "the axes to insert are not known");
      const rank = shape.length + given.length;
      const axes = given.map((axis) => normalizeAxis(axis, rank, call.op));
      const rest = [...shape];
      return Array.from({ length: rank }, (_, axis): Dim => (axes.includes(axis) ? 1 : (rest.shift() as Dim)));
    },
    samples: [
      { inputs: [[2, 3], { shape: [2], dtype: "int64", values: [0, -1] }] },
      { inputs: [[], { shape: [1], dtype: "int64", values: [0] }] },
    ],
  }),
  Flatten: reshapeRule({
    inputs: [1, 1],
    shape(call) {
      const { shape } = inputOf(call, 0);
      const axis = intOf(call, "axis", 1);
      const at = axis === shape.length ? axis : normalizeAxis(axis, shape.length, call.op);
      return [productOf(shape.slice(0, at)), productOf(shape.slice(at))];
    },
    samples: [{ inputs: [[2, 3, 4]] }, { inputs: [[2, 3, 4]], attributes: { axis: int(0) } }],
  }),
  Transpose: {
    inputs: [1, 1],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const perm = permOf(call, shape.length);
      return [{ dtype, shape: perm.map((axis) => shape[axis]) }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const perm = permOf(call, x.shape.length);
      return [{ ...x, shape: perm.map((axis) => x.shape[axis]), stride: perm.map((axis) => x.stride[axis]) }];
    },
    samples: [{ inputs: [[2, 3]] }, { inputs: [[2, 3, 4]], attributes: { perm: ints([1, 2, 0]) } }],
  },
  Expand: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const target = inputOf(call, 1);
      const wanted = knownElements(target);
      if (wanted !== undefined) return [{ dtype, shape: broadcast([shape, wanted], call.op) }];
      const rank = typeof target.shape[0] === "number" ? Math.max(target.shape[0], shape.length) : undefined;
      if (rank === undefined) throw badShape(call, "the length of the target shape is not known");
      return [{ dtype, shape: unknownShape(call, rank) }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const { shape } = call.types[0];
      const data = contiguousData(x);
      return [{ dtype: x.dtype, data, shape, stride: broadcastStride(x.shape, shape), offset: 0 }];
    },
    samples: [
      { inputs: [[2, 1], { shape: [3], dtype: "int64", values: [2, 1, 3] }] },
      { inputs: [[], { shape: [1], dtype: "int64", values: [3] }] },
    ],
  },
  Concat: {
    inputs: [1, Number.POSITIVE_INFINITY],
    infer(call) {
      const dtype = sameDtype(call);
      const shapes = call.inputs.map((_, index) => inputOf(call, index).shape);
      const axis = normalizeAxis(intOf(call, "axis", 0), shapes[0].length, call.op);
      const shape = shapes[0].map((first, at): Dim => {
        if (at === axis) return shapes.map((each) => each[axis]).reduce((a, b) => addDims(a, b));
        let size = first;
        for (const other of shapes) {
          if (
            other.length !== shapes[0].length ||
            (typeof other[at] === "number" && typeof size === "number" && other[at] !== size)
          ) {
            throw badShape(call, `${shapes.map((each) => `[${each}]`).join(", ")} cannot be joined along axis ${axis}`);
          }
          if (typeof other[at] === "number" || size === unknownDim) size = other[at];
        }
        return size;
      });
      const known = call.inputs.map(knownElements);
      const all = shape.length === 1 && known.every((each) => each !== undefined) ? known.flat() : undefined;
      return [{ dtype, shape, known: all as Dim[] | undefined }];
    },
    evaluate(call) {
      const parts = call.inputs as Tensor[];
      const { dtype, shape } = call.types[0];
      const axis = normalizeAxis(intOf(call, "axis", 0), shape.length, call.op);
      const outer = elementCount(shape.slice(0, axis));
      const out = allocate(dtype, elementCount(shape));
      const row = elementCount(shape.slice(axis));
      let column = 0;
      for (const part of parts) {
        const data = contiguousData(part);
        const width = elementCount(part.shape.slice(axis));
        for (let i = 0; i < outer; i++) copyCodes(out, i * row + column, data, i * width, width);
        column += width;
      }
      return [fromData<DType>(dtype, out, shape)];
    },
    samples: [
      {
        inputs: [
          [2, 3],
          [2, 1],
        ],
        attributes: { axis: int(-1) },
      },
      {
        inputs: [
          [1, 2, 3],
          [2, 2, 3],
          [1, 2, 3],
        ],
        attributes: { axis: int(0) },
      },
    ],
  },
  Split: {
    inputs: [1, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const axis = normalizeAxis(intOf(call, "axis", 0), shape.length, call.op);
      return splitSizes(call, shape[axis]).map((size) => ({
        dtype,
        shape: shape.map((dim, at) => (at === axis ? size : dim)),
      }));
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const axis = normalizeAxis(intOf(call, "axis", 0), x.shape.length, call.op);
      let start = x.offset;
      return call.types.map(({ shape }) => {
        const part = { ...x, shape, offset: start };
        start += shape[axis] * x.stride[axis];
        return part;
      });
    },
    samples: [
      {
        inputs: [[2, 6], { shape: [2], dtype: "int64", values: [2, 4] }],
        attributes: { axis: int(1) },
        outputs: 2,
      },
      { inputs: [[7]], attributes: { num_outputs: int(3) }, outputs: 3 },
    ],
  },
  Tile: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const repeats = knownElements(call.inputs[1]);
      return [
        {
          dtype,
          shape: shape.map((dim, axis) => (repeats === undefined ? unknownDim : multiplyDims(dim, repeats[axis]))),
        },
      ];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const { shape } = call.types[0];
      // Each axis as [repeat, size]: repeats have stride 0.
      const pairs = x.shape.flatMap((size, axis) => [size === 0 ? 0 : shape[axis] / size, size]);
      const stride = x.shape.flatMap((_, axis) => [0, x.stride[axis]]);
      return [reshaped({ ...x, shape: pairs, stride }, shape)];
    },
    samples: [{ inputs: [[2, 3], { shape: [2], dtype: "int64", values: [2, 3] }] }],
  },
  Shape: {
    inputs: [1, 1],
    infer(call) {
      const { shape } = inputOf(call, 0);
      const bound = (axis: number) => Math.min(shape.length, Math.max(0, axis < 0 ? axis + shape.length : axis));
      const part = shape.slice(bound(intOf(call, "start", 0)), bound(intOf(call, "end", shape.length)));
      return [{ dtype: "int64", shape: [part.length], known: part }];
    },
    evaluate: (call) => {
      const { shape } = call.inputs[0] as Tensor;
      return [int64Vector(shape.slice(intOf(call, "start", 0), intOf(call, "end", shape.length)))];
    },
    samples: [{ inputs: [[2, 3, 4]] }, { inputs: [[2, 3, 4]], attributes: { start: int(-2), end: int(-1) } }],
  },
  Size: {
    inputs: [1, 1],
    infer: (call) => [{ dtype: "int64", shape: [], known: [productOf(inputOf(call, 0).shape)] }],
    evaluate: (call) => [
      fromData("int64", BigInt64Array.of(BigInt(elementCount((call.inputs[0] as Tensor).shape))), []),
    ],
    samples: [{ inputs: [[2, 3, 4]] }],
  },
});

function permOf(call: OpCall | Parameters<typeof intsOf>[0], rank: number): number[] {
  const perm = intsOf(call, "perm") ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  const sorted = [...perm].sort((a, b) => a - b);
  if (perm.length !== rank || sorted.some((axis, at) => axis !== at)) {
    throw badShape(call, `perm [${perm}] does not name each of ${rank} axes once`);
  }
  return perm;
}

function splitSizes(call: OpCall, size: Dim): readonly Dim[] {
  const given = call.inputs[1] === undefined ? intsOf(call, "split") : knownElements(call.inputs[1]);
  if (given !== undefined) {
    const total = given.reduce(addDims, 0);
    if (typeof total === "number" && typeof size === "number" && total !== size) {
      throw badShape(call, `parts of [${given}] do not add up to ${size}`);
    }
    return given;
  }
  const parts = intOf(call, "num_outputs", call.outputs);
  if (parts !== call.outputs) throw badShape(call, `num_outputs is ${parts}, but ${call.outputs} outputs are named`);
  if (call.inputs[1] !== undefined || typeof size !== "number") return new Array<Dim>(parts).fill(unknownDim);
  const each = Math.ceil(size / parts);
  return Array.from({ length: parts }, (_, i) => (i < parts - 1 ? each : size - each * (parts - 1)));
}

/** Axes in another order; default reversed. A tensor gives a view. */
export function transpose(x: Tensor, perm?: readonly number[]): Tensor;
export function transpose(x: Value, perm?: readonly number[]): Value;
export function transpose(x: Value, perm?: readonly number[]): Value {
  return applyOne(ruleOf(shapeOps, "Transpose"), [x], perm === undefined ? {} : { perm: ints(perm) });
}

/** A target shape as one int64 vector: sizes known when building and sizes computed in the graph may be mixed. */
export function shapeVector(dims: Value | readonly (number | Value)[]): Value {
  if (!Array.isArray(dims)) return dims as Value;
  if (dims.every((dim) => typeof dim === "number")) return int64Vector(dims);
  const parts: Value[] = [];
  let run: number[] = [];
  const flush = () => {
    if (run.length > 0) parts.push(int64Vector(run));
    run = [];
  };
  for (const dim of dims as readonly (number | Value)[]) {
    if (typeof dim === "number") run.push(dim);
    else {
      flush();
      parts.push(dim.shape.length === 0 ? unsqueeze(dim, [0]) : dim);
    }
  }
  flush();
  return concat(parts, 0);
}

/** The same elements in another shape: -1 = what remains, 0 = as in `x`. */
export function reshape(x: Tensor, dims: readonly number[] | Tensor): Tensor;
export function reshape(x: Value, dims: readonly (number | Value)[] | Value): Value;
export function reshape(x: Value, dims: readonly (number | Value)[] | Value): Value {
  return applyOne(ruleOf(shapeOps, "Reshape"), [x, shapeVector(dims)]);
}

/** Inserts axes of size 1; positions count in the result. */
export function unsqueeze(x: Tensor, axes: readonly number[]): Tensor;
export function unsqueeze(x: Value, axes: readonly number[]): Value;
export function unsqueeze(x: Value, axes: readonly number[]): Value {
  return applyOne(ruleOf(shapeOps, "Unsqueeze"), [x, int64Vector(axes)]);
}

/** Removes axes of size 1; default all of them. */
export function squeeze(x: Tensor, axes?: readonly number[]): Tensor;
export function squeeze(x: Value, axes?: readonly number[]): Value;
export function squeeze(x: Value, axes?: readonly number[]): Value {
  return applyOne(ruleOf(shapeOps, "Squeeze"), [x, axes && int64Vector(axes)]);
}

/** A matrix: axes before `axis` (default 1) as rows, the others as columns. */
export function flatten(x: Tensor, axis?: number): Tensor;
export function flatten(x: Value, axis?: number): Value;
export function flatten(x: Value, axis = 1): Value {
  return applyOne(ruleOf(shapeOps, "Flatten"), [x], { axis: int(axis) });
}

/** Joined along `axis`; the other sizes must agree. */
export function concat(values: readonly Tensor[], axis: number): Tensor;
export function concat(values: readonly Value[], axis: number): Value;
export function concat(values: readonly Value[], axis: number): Value {
  return values.length === 1 ? values[0] : applyOne(ruleOf(shapeOps, "Concat"), values, { axis: int(axis) });
}

/** Parts along `axis`: of the given sizes, or `parts` of (nearly) equal ones. */
export function split(x: Tensor, sizes: readonly number[] | number, axis: number): Tensor[];
export function split(x: Value, sizes: readonly number[] | number, axis: number): Value[];
export function split(x: Value, sizes: readonly number[] | number, axis: number): Value[] {
  const outputs = typeof sizes === "number" ? sizes : sizes.length;
  const attributes = { axis: int(axis), ...(typeof sizes === "number" ? { num_outputs: int(sizes) } : {}) };
  const operands = typeof sizes === "number" ? [x] : [x, int64Vector(sizes)];
  return [...apply(ruleOf(shapeOps, "Split"), operands, { attributes, outputs })];
}

/** Broadcast to a shape (ONNX: both ways, so 1 keeps the size of `x`). A tensor gives a view. */
export function expand(x: Tensor, dims: readonly number[] | Tensor): Tensor;
export function expand(x: Value, dims: readonly (number | Value)[] | Value): Value;
export function expand(x: Value, dims: readonly (number | Value)[] | Value): Value {
  return applyOne(ruleOf(shapeOps, "Expand"), [x, shapeVector(dims)]);
}

/** Repeats along each axis. */
export function tile(x: Tensor, repeats: readonly number[] | Tensor): Tensor;
export function tile(x: Value, repeats: readonly (number | Value)[] | Value): Value;
export function tile(x: Value, repeats: readonly (number | Value)[] | Value): Value {
  return applyOne(ruleOf(shapeOps, "Tile"), [x, shapeVector(repeats)]);
}

/** Sizes of axes [start, end) as an int64 vector; a tensor where they are all known. */
export function shapeOf(x: Value, { start, end }: { start?: number; end?: number } = {}): Value {
  if (isTensor(x)) return int64Vector(x.shape.slice(start, end));
  return applyOne(ruleOf(shapeOps, "Shape"), [x], {
    ...(start === undefined ? {} : { start: int(start) }),
    ...(end === undefined ? {} : { end: int(end) }),
  });
}

/** Number of elements, int64 scalar. */
export function size(x: Value): Value {
  return applyOne(ruleOf(shapeOps, "Size"), [x]);
}

/** Types whose dtype is int64, for rules that take positions. */
export function requireIndices(call: OpCall, index: number): ValueType {
  requireDtype(call, index, ["int64", "int32"]);
  return inputOf(call, index);
}

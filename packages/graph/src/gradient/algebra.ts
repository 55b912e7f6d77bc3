import { elementCount, LoomweightError, type Tensor } from "@loomweight/tensor";
import { intOf, tensorAttribute, textOf } from "../attributes.ts";
import { isConcrete } from "../dims.ts";
import { elementsOf } from "../evaluate/numbers.ts";
import { int64Vector, knownNumbers, makeNode, scalarOf, typeOf } from "../op.ts";
import { add, mul } from "../ops/elementwise.ts";
import { constantOfShape } from "../ops/generate.ts";
import { slice } from "../ops/indexing.ts";
import { cast, less } from "../ops/logic.ts";
import { reduceSum } from "../ops/reduce.ts";
import { scatterElements } from "../ops/scatter.ts";
import { expand, reshape, shapeOf, squeeze, unsqueeze } from "../ops/shape.ts";
import { scopedName } from "../scope.ts";
import { type Attributes, type Dim, isTensor, type Value } from "../value.ts";
import type { GradientCall } from "./rule.ts";

/** The one number that a constant repeats (its strides are 0), as the gradient of a mean does; undefined otherwise. */
function repeated(value: Value): number | undefined {
  if (!isTensor(value) || elementCount(value.shape) === 0) return undefined;
  if (value.shape.some((size, axis) => size !== 1 && value.stride[axis] !== 0)) return undefined;
  return elementsOf({ ...value, shape: [], stride: [] })[0];
}

/** A constant that repeats one number over a shape without holding it more than once. */
export function filled(number: number, shape: readonly Dim[], like: Value): Value {
  if (!isConcrete(shape)) return constantOfShape(shapeOf(like), number, like.dtype);
  return { ...scalarOf(number, like.dtype), shape: [...shape], stride: shape.map(() => 0) };
}

/** Zeros of the shape and dtype of `x`. */
export const zerosLike = (x: Value): Value => filled(0, x.shape, x);

/** Larger arrays of zeros are made anew in each run: onnxruntime would hold a constant for good, and copy it each time. */
const mostHeld = 2 ** 14;

/**
 * Zeros like `x` for an op that writes into them. `after`, the gradient that is written, keeps onnxruntime from folding
 * large ones into constants.
 */
export function zeroBuffer(x: Value, after?: Value): Value {
  const { dtype } = x;
  const concrete = isConcrete(x.shape);
  const shape = isConcrete(x.shape) ? int64Vector(x.shape) : shapeOf(x);
  const small = concrete && elementCount(x.shape as readonly number[]) <= mostHeld;
  const zero: Tensor = { ...scalarOf(0, dtype), shape: [1], stride: [1] };
  const zeros: { op: string; inputs: Value[]; attributes: Attributes } =
    after === undefined || isTensor(after) || small
      ? { op: "ConstantOfShape", inputs: [shape], attributes: { value: tensorAttribute(zero) } }
      : { op: "Expand", inputs: [cast(zeroAfter(after), dtype), shape], attributes: {} };
  return makeNode({ ...zeros, domain: "", name: scopedName("Zeros") }, [{ dtype, shape: x.shape }])[0];
}

/** 0 as a float32 scalar that is known only when `dy` is: no number is less than itself, NaN included. */
export function zeroAfter(dy: Value): Value {
  const flat = dy.shape.length === 0 ? dy : reshape(dy, [-1]);
  const one = flat.shape.length === 0 ? flat : reshape(slice(flat, { starts: [0], ends: [1], axes: [0] }), []);
  return cast(less(one, one), "float32");
}

const isZeros = (value: Value): boolean => !isTensor(value) && value.node?.name?.endsWith("/Zeros") === true;

/** The parts of a gradient that is zero but where `updates` were added along one axis, as picking elements leaves it. */
function scattered(value: Value): { indices: Value; updates: Value; axis: number } | undefined {
  if (isTensor(value) || value.node?.op !== "ScatterElements") return undefined;
  const [zeros, indices, updates] = value.node.inputs as readonly Value[];
  if (!isZeros(zeros) || textOf(value.node, "reduction", "none") !== "add") return undefined;
  const axis = intOf(value.node, "axis", 0);
  return { indices, updates, axis: axis < 0 ? axis + value.shape.length : axis };
}

/** What an Expand that this file made has broadcast. */
function expanded(value: Value): Value | undefined {
  return isTensor(value) || value.node?.op !== "Expand" || isZeros(value) ? undefined : (value.node.inputs[0] as Value);
}

const sameShape = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length && a.every((size, axis) => size === b[axis] && size !== "?");

/** dy · f where f has the shape of dy or broadcasts to it; a dy that repeats one number costs a scalar. */
export function times(dy: Value, f: Value | number): Value {
  if (typeof f === "number") return scaled(dy, f);
  const [number, factor] = [repeated(dy), repeated(f)];
  const narrow = expanded(dy);
  if (narrow !== undefined && sameShape(dy.shape, f.shape)) return mul(narrow, f); // broadcast by the product itself
  if (factor !== undefined) return scaled(dy, factor);
  if (number === undefined || !sameShape(dy.shape, f.shape)) return mul(dy, f);
  return number === 1 ? f : mul(f, number);
}

/** dy · factor */
export function scaled(dy: Value, factor: number): Value {
  const number = repeated(dy);
  if (number !== undefined) return filled(number * factor, dy.shape, dy);
  return factor === 1 ? dy : mul(dy, factor);
}

/** a + b of one shape */
export function plus(a: Value, b: Value): Value {
  const [x, y] = [repeated(a), repeated(b)];
  if (x !== undefined && y !== undefined) return filled(x + y, a.shape, a);
  if (x === 0) return b;
  if (y === 0) return a;
  // Few elements are added into the other: no array of zeros.
  const [few, others] = [scattered(a), scattered(b)];
  if (others !== undefined) return addInto(a, others);
  if (few !== undefined) return addInto(b, few);
  return add(expanded(a) ?? a, b);
}

function addInto(value: Value, { indices, updates, axis }: { indices: Value; updates: Value; axis: number }): Value {
  return scatterElements(value, indices, updates, { axis, reduction: "add" });
}

/** `x` broadcast to the shape of `like`. */
export function spread(x: Value, like: Value): Value {
  if (sameShape(x.shape, like.shape)) return x;
  const number = repeated(x);
  if (number !== undefined && isConcrete(like.shape)) return filled(number, like.shape, x);
  return expand(x, shapeOf(like));
}

/**
 * dy summed over every axis along which a value of `shape` was broadcast: the gradient of broadcasting. Throws
 * `SYMBOLIC_SHAPE` where sizes are two different names, of which one may be 1.
 */
export function sumToShape(dy: Value, shape: readonly Dim[], where = "broadcast"): Value {
  if (sameShape(dy.shape, shape)) return dy;
  const missing = dy.shape.length - shape.length;
  const leading = Array.from({ length: missing }, (_, axis) => axis);
  const ones = shape.flatMap((size, axis) => {
    const wide = dy.shape[axis + missing];
    if (size === wide) return [];
    if (size !== 1) throw unbound(where, dy.shape, shape);
    return [axis + missing];
  });
  const axes = [...leading, ...ones];
  if (axes.length === 0) return dy;
  const number = repeated(dy);
  if (number !== undefined && isConcrete(dy.shape)) {
    return filled(number * elementCount(axes.map((axis) => (dy.shape as number[])[axis])), shape, dy);
  }
  const few = scattered(dy);
  if (few !== undefined && axes.includes(few.axis) && alignedBeside(few.updates, dy, few.axis)) {
    return sumToShape(few.updates, shape, where);
  }
  if (ones.length === 0) return reduceSum(dy, axes, false);
  if (missing === 0) return reduceSum(dy, axes);
  return squeeze(reduceSum(dy, axes), leading);
}

/** Whether the two have the same sizes but along one axis. */
const alignedBeside = (a: Value, b: Value, axis: number): boolean =>
  a.shape.length === b.shape.length && a.shape.every((size, at) => at === axis || size === b.shape[at]);

function unbound(where: string, from: readonly Dim[], to: readonly Dim[]): LoomweightError {
  return new LoomweightError({
    code: "SYMBOLIC_SHAPE",
    problem: `${where}: whether [${to}] was broadcast to [${from}] depends on sizes that have no number yet`,
    fix: "Build the training graph for concrete sizes.",
  });
}

/** `dy` in the shape of `x`, which has as many elements. */
export function reshapeLike(dy: Value, x: Value): Value {
  if (sameShape(dy.shape, x.shape)) return dy;
  const number = repeated(dy);
  if (number !== undefined && isConcrete(x.shape)) return filled(number, x.shape, dy);
  return reshape(dy, isConcrete(x.shape) ? x.shape : shapeOf(x));
}

/** The sizes of a value as numbers; throws `SYMBOLIC_SHAPE`. */
export function concreteShape(call: { op: string; name?: string }, value: Value): readonly number[] {
  const { shape } = value;
  if (isConcrete(shape)) return shape;
  throw new LoomweightError({
    code: "SYMBOLIC_SHAPE",
    problem: `the gradient of ${call.op} needs its sizes as numbers`,
    node: call.name,
    found: `[${shape}]`,
    fix: "Build the training graph for concrete sizes.",
  });
}

/** Elements of an integer input (axes, pads, …) that the rule needs as numbers; throws `NOT_CONSTANT`. */
export function constantNumbers(call: GradientCall, index: number): readonly number[] | undefined {
  const value = call.inputs[index];
  if (value === undefined) return undefined;
  const numbers = knownNumbers(typeOf(value));
  if (numbers !== undefined) return numbers;
  throw new LoomweightError({
    code: "NOT_CONSTANT",
    problem: `the gradient of ${call.op} needs input ${index} when the graph is built`,
    node: call.name,
    fix: "Give it as a constant.",
  });
}

/** `dy` of a reduction with the reduced axes as size 1 again. */
export function keepAxes(dy: Value, axes: readonly number[], kept: boolean): Value {
  if (kept || axes.length === 0) return dy;
  const number = repeated(dy);
  if (number !== undefined) {
    const rank = dy.shape.length + axes.length;
    const rest = [...dy.shape];
    const shape = Array.from({ length: rank }, (_, axis) => (axes.includes(axis) ? 1 : (rest.shift() as Dim)));
    return filled(number, shape, dy);
  }
  return unsqueeze(dy, axes);
}

/** Whether every element of a constant is `number`. */
export function isNumber(value: Value | undefined, number: number): boolean {
  return value !== undefined && repeated(value) === number;
}

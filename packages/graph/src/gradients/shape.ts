import { intOf, intsOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { concreteShape, constantNumbers, reshapeLike, sumToShape, zerosLike } from "../gradient/algebra.ts";
import { defineGradients, noGradient, operand, unary } from "../gradient/rule.ts";
import { slice } from "../ops/indexing.ts";
import { reduceSum } from "../ops/reduce.ts";
import { concat, reshape, split, transpose } from "../ops/shape.ts";
import type { Value } from "../value.ts";

const reshaped = unary(({ x, dy }) => reshapeLike(dy, x));

/** Ops that change how elements are arranged: the elements of dy are arranged back. */
export const shapeGradients = /* @__PURE__ */ defineGradients({
  Reshape: reshaped,
  Squeeze: reshaped,
  Unsqueeze: reshaped,
  Flatten: reshaped,
  Transpose: unary(({ x, dy, call }) => {
    const rank = x.shape.length;
    const perm = intsOf(call, "perm") ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
    const inverse = new Array<number>(rank);
    for (const [at, axis] of perm.entries()) inverse[axis] = at;
    return transpose(dy, inverse);
  }),
  Expand: unary(({ x, dy, call }) => sumToShape(dy, x.shape, call.op)),
  Concat(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const axis = normalizeAxis(intOf(call, "axis", 0), dy.shape.length, call.op);
    const sizes = call.inputs.map((part) => concreteShape(call, part as Value)[axis]);
    const wanted = call.wants.filter((each) => each).length;
    if (wanted > 1) return split(dy, sizes, axis);
    let start = 0;
    return sizes.map((size, index) => {
      const begin = start;
      start += size;
      return call.wants[index] ? slice(dy, { starts: [begin], ends: [start], axes: [axis] }) : undefined;
    });
  },
  Split(call) {
    const axis = normalizeAxis(intOf(call, "axis", 0), operand(call, 0).shape.length, call.op);
    const parts = call.outputs.map((part, index) => call.upstream[index] ?? zerosLike(part));
    return [concat(parts, axis)];
  },
  /** Each axis as [repeats, size]: the repeats are summed. */
  Tile: unary(({ x, dy, call }) => {
    const shape = concreteShape(call, x);
    const repeats = constantNumbers(call, 1) ?? [];
    const axes: number[] = [];
    const pairs: number[] = [];
    for (const [axis, size] of shape.entries()) {
      if (repeats[axis] !== 1) {
        axes.push(pairs.length);
        pairs.push(repeats[axis]);
      }
      pairs.push(size);
    }
    return axes.length === 0 ? dy : reduceSum(reshape(dy, pairs), axes, false);
  }),
  Shape: noGradient,
  Size: noGradient,
});

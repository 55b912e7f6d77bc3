import {
  abs,
  add,
  cast,
  div,
  less,
  max,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  sqrt,
  sub,
  type Value,
} from "@loomweight/graph";
import { elementCount } from "@loomweight/tensor";

/** What `projectScaleInvariant` found. The masks are scalars, 0 or 1, at most one of them 1. */
export interface Projection {
  /** The update, without its radial part where a mask is 1. */
  readonly update: Value;
  /** The rows [out, rest] of the weight are scale invariant. */
  readonly channel: Value;
  /** The weight is, as a whole. */
  readonly layer: Value;
}

/**
 * Removes the radial part of an update where the weight is scale invariant, which is detected from the gradient being
 * orthogonal to it: the largest |cosine| of any row is below delta / √(row length), first over rows, then over the
 * whole tensor. `parameter` has two axes or more; all shapes are the same. Both views are computed and chosen between
 * by masks, so a graph needs no branch. Heo et al. 2021, arXiv:2006.08217, equations 11 and 12.
 */
export function projectScaleInvariant(
  { parameter, gradient, update }: { readonly parameter: Value; readonly gradient: Value; readonly update: Value },
  { delta, epsilon }: { readonly delta: number; readonly epsilon: number },
): Projection {
  const shape = parameter.shape as readonly number[];
  const size = elementCount(shape);
  const rows = viewed({ parameter, gradient, update }, [shape[0], size / shape[0]], delta, epsilon);
  const whole = viewed({ parameter, gradient, update }, [1, size], delta, epsilon);
  const channel = rows.orthogonal;
  const layer = mul(whole.orthogonal, sub(1, channel));
  const radial = add(mul(rows.radial, channel), mul(whole.radial, layer));
  return { update: sub(update, reshape(radial, shape)), channel, layer };
}

/** Absolute cosine [rows, 1] between the rows of two matrices; each norm is held above `epsilon`. */
export function rowCosines(a: Value, b: Value, epsilon: number): Value {
  const norms = mul(max(rowNorms(a), epsilon), max(rowNorms(b), epsilon));
  return div(abs(reduceSum(mul(a, b), [1])), norms);
}

function viewed(
  { parameter, gradient, update }: { readonly parameter: Value; readonly gradient: Value; readonly update: Value },
  [rows, columns]: readonly [number, number],
  delta: number,
  epsilon: number,
): { orthogonal: Value; radial: Value } {
  const [p, g, q] = [parameter, gradient, update].map((value) => reshape(value, [rows, columns]));
  const largest = reduceMax(rowCosines(p, g, epsilon), undefined, false);
  const unit = div(p, add(rowNorms(p), epsilon));
  const radial = mul(unit, reduceSum(mul(unit, q), [1]));
  // Each view's radial part back in one common shape, so that the two can be added.
  return {
    orthogonal: cast(less(largest, delta / Math.sqrt(columns)), parameter.dtype),
    radial: reshape(radial, [rows * columns]),
  };
}

function rowNorms(matrix: Value): Value {
  return sqrt(reduceSum(mul(matrix, matrix), [1]));
}

/** Factor of the weight decay: `ratio` where a projection took place, else 1. */
export function decayFactor({ channel, layer }: Projection, ratio: number): Value {
  return sub(1, mul(add(channel, layer), 1 - ratio));
}

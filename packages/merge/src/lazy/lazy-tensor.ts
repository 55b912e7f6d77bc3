import type { Kernels } from "@loomweight/kernels";
import { elementCount, shapeMismatch } from "@loomweight/tensor";
import type { Engine, TileSource } from "./engine.ts";

/**
 * A tensor as an expression over tile sources: nothing is read until a reduction or the executor streams it. Values
 * are float64 inside an expression; the one rounding happens when the result is stored.
 */
export interface LazyTensor {
  readonly engine: Engine;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  readonly node: LazyNode;
}

/**
 * Computes one block: all arrays have one length, element 0 being element `start` of the flattened tensor. `scratch`
 * holds as many working arrays as the node asked for, with arbitrary content.
 */
export type BlockFunction = (
  kernels: Kernels,
  out: Float64Array,
  inputs: readonly Float64Array[],
  start: number,
  scratch: readonly Float64Array[],
) => void;

export type LazyNode =
  | { readonly kind: "source"; readonly source: TileSource }
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "sum"; readonly terms: readonly WeightedTensor[] }
  | { readonly kind: "difference"; readonly of: readonly [LazyTensor, LazyTensor] }
  | {
      readonly kind: "elementwise";
      readonly inputs: readonly LazyTensor[];
      readonly apply: BlockFunction;
      readonly scratch: number;
    };

export interface WeightedTensor {
  readonly tensor: LazyTensor;
  readonly weight: number;
}

/** The tensor that `source` holds. */
export function fromSource(source: TileSource, engine: Engine): LazyTensor {
  return { engine, shape: source.shape, size: source.size, node: { kind: "source", source } };
}

/** A tensor of `like`'s shape, `value` everywhere. */
export function constant(like: LazyTensor, value: number): LazyTensor {
  return { ...like, node: { kind: "constant", value } };
}

/** Σ weightᵢ · tensorᵢ, added in the order given. */
export function weightedSum(terms: readonly WeightedTensor[]): LazyTensor {
  const tensors = terms.map(({ tensor }) => tensor);
  return { ...commonFrame(tensors, "weightedSum"), node: { kind: "sum", terms } };
}

/** One block function over tensors of one shape; `scratch` = working arrays it needs, default 0. */
export function elementwise(inputs: readonly LazyTensor[], apply: BlockFunction, scratch = 0): LazyTensor {
  return { ...commonFrame(inputs, "elementwise"), node: { kind: "elementwise", inputs, apply, scratch } };
}

export const add = (a: LazyTensor, b: LazyTensor): LazyTensor =>
  elementwise([a, b], (kernels, out, inputs) => kernels.add(out, inputs[0], inputs[1]));

/** a − b. */
export function subtract(a: LazyTensor, b: LazyTensor): LazyTensor {
  return { ...commonFrame([a, b], "subtract"), node: { kind: "difference", of: [a, b] } };
}

export const multiply = (a: LazyTensor, b: LazyTensor): LazyTensor =>
  elementwise([a, b], (kernels, out, inputs) => kernels.multiply(out, inputs[0], inputs[1]));

/** factor · a; `a` itself for a factor of 1. */
export function scale(a: LazyTensor, factor: number): LazyTensor {
  if (factor === 1) return a;
  // An added -0 changes no value, not even the sign of a zero.
  return elementwise([a], (kernels, out, inputs) => kernels.affine(out, inputs[0], factor, -0));
}

/** a / divisor, correctly rounded; `a` itself for 1. */
export function divideBy(a: LazyTensor, divisor: number): LazyTensor {
  if (divisor === 1) return a;
  const inverse = 1 / divisor;
  // The reciprocal of a power of two is exact, and multiplying is faster.
  if (isPowerOfTwo(divisor) && isPowerOfTwo(inverse)) return scale(a, inverse);
  return elementwise([a, constant(a, divisor)], (kernels, out, inputs) => kernels.divide(out, inputs[0], inputs[1]));
}

/** What a node is computed from. */
export function operandsOf(node: LazyNode): readonly LazyTensor[] {
  if (node.kind === "sum") return node.terms.map(({ tensor }) => tensor);
  if (node.kind === "difference") return node.of;
  return node.kind === "elementwise" ? node.inputs : [];
}

/** The distinct sources below `roots`, in the order first met. */
export function sourcesOf(roots: readonly LazyTensor[]): TileSource[] {
  const seen = new Set<LazyNode>();
  const sources = new Set<TileSource>();
  const visit = ({ node }: LazyTensor): void => {
    if (seen.has(node)) return;
    seen.add(node);
    if (node.kind === "source") sources.add(node.source);
    operandsOf(node).forEach(visit);
  };
  for (const root of roots) visit(root);
  return [...sources];
}

function isPowerOfTwo(value: number): boolean {
  return Number.isFinite(value) && value !== 0 && Number.isInteger(Math.log2(Math.abs(value)));
}

function commonFrame(tensors: readonly LazyTensor[], where: string): Omit<LazyTensor, "node"> {
  const [first] = tensors;
  for (const tensor of tensors) {
    if (tensor.size !== first.size || tensor.shape.length !== first.shape.length) {
      throw shapeMismatch({
        where,
        expected: { from: "the first operand", shape: first.shape },
        got: { from: "another", shape: tensor.shape },
      });
    }
  }
  return { engine: first.engine, shape: first.shape, size: elementCount(first.shape) };
}

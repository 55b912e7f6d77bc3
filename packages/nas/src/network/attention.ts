import { add, concat, matMul, mul, pad, reshape, slice, softmax, transpose, type Value } from "@loomweight/graph";
import { causalMask } from "@loomweight/graph/nn";
import { cast as castTensor, LoomweightError } from "@loomweight/tensor";
import { decisionsOf, largestSize, type Size, sizeOf } from "../space/axis.ts";
import type { Decision } from "../space/choice.ts";
import { pick } from "./pick.ts";

export interface AttentionOptions {
  /** Into how many heads the width is divided: every width must be divisible by every number. */
  readonly heads: number | Decision;
  /** Width of q, k and v as the space has it: a number, a decision, or a product. Heads of a fixed size: `product(heads, size)`. */
  readonly width: Size;
  /** Each position sees itself and those before it. Default false. */
  readonly causal?: boolean;
  /** Added to the scores; broadcasts to [batch, heads, length, length]. */
  readonly mask?: Value;
}

/** What decides about attention, resolved: choices with what weighs them; `undefined` = one choice of weight 1. */
export interface Weighed {
  readonly choices: readonly number[];
  readonly weight?: Value;
}

/** q, k, v [batch, length, width] of one number of heads: [batch, heads, length, size], `size` first entries of a head padded to `padded`. */
function splitHeads(x: Value, width: number, heads: number, padded: number): Value {
  const [batch, length, full] = x.shape.map(Number);
  if (width % heads !== 0) throw wrongHeads(width, heads);
  const own = width === full ? x : slice(x, { starts: [0], ends: [width], axes: [2] });
  const size = width / heads;
  const split = transpose(reshape(own, [batch, length, heads, size]), [0, 2, 1, 3]);
  return size === padded ? split : pad(split, [0, 0, 0, 0, 0, 0, 0, padded - size]);
}

/** [batch, heads, length, size] → [batch, length, heads · size], padded with zeros to `full`. */
function joinHeads(x: Value, full: number): Value {
  const [batch, heads, length, size] = x.shape.map(Number);
  const joined = reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * size]);
  return heads * size === full ? joined : pad(joined, [0, 0, 0, 0, 0, full - heads * size]);
}

/** softmax(scores + masks) of scores [batch, heads, length, length]. */
function attend(scores: Value, { causal = false, mask }: AttentionOptions): Value {
  const length = Number(scores.shape[2]);
  const seen = causal ? add(scores, castTensor(causalMask(length), scores.dtype)) : scores;
  return softmax(mask === undefined ? seen : add(seen, mask));
}

const transposed = (x: Value) => transpose(x, [0, 1, 3, 2]);

/**
 * Σ_h p_h Attn_h: attention for every number of heads h, with the widths e superposed inside:
 * q_h = Σ_e p_e √(h/e) pad(q[:e]), k_h = Σ_e p_e pad(k[:e]), each head padded to the largest head's size, so that each
 * width keeps the scale of its own heads; values of each width go back to their own places. A choice of probability 1
 * is then the attention of that network alone.
 */
export function mixAttention(
  q: Value,
  k: Value,
  v: Value,
  heads: Weighed,
  widths: Weighed,
  options: AttentionOptions,
): Value {
  const full = Math.max(...widths.choices);
  const weighed = (value: Value, { weight }: Weighed, j: number) =>
    weight === undefined ? value : mul(value, pick(weight, j));
  const sum = (values: readonly Value[]) => values.reduce((all, each) => add(all, each));
  const each = heads.choices.map((count, h) => {
    const padded = full / count;
    const parts = (x: Value, scaled: boolean) =>
      sum(
        widths.choices.map((width, e) => {
          const split = splitHeads(x, width, count, padded);
          return weighed(scaled ? mul(split, Math.sqrt(count / width)) : split, widths, e);
        }),
      );
    const weights = attend(matMul(parts(q, true), transposed(parts(k, false))), options);
    // One product for the values of all widths, side by side.
    const sizes = widths.choices.map((width) => width / count);
    const values = widths.choices.map((width, e) => splitHeads(v, width, count, sizes[e]));
    const attended = matMul(weights, values.length === 1 ? values[0] : concat(values, 3));
    let from = 0;
    const placed = sizes.map((size, e) => {
      const own = slice(attended, { starts: [from], ends: [from + size], axes: [3] });
      from += size;
      return weighed(joinHeads(own, full), widths, e);
    });
    return weighed(sum(placed), heads, h);
  });
  return sum(each);
}

/**
 * As the reference computes it: the joint probability of heads and width multiplies q, k and v (scores carry its
 * square), heads are padded to the largest width's and scaled by its size; numbers of heads are added unweighed. A
 * choice of probability 1 differs from that network alone unless its width is the largest.
 */
export function superposeAttention(
  q: Value,
  k: Value,
  v: Value,
  heads: Weighed,
  widths: Weighed,
  options: AttentionOptions,
): Value {
  const full = Math.max(...widths.choices);
  const parts = heads.choices.map((count, h) => {
    const padded = full / count;
    const mixed = (x: Value) =>
      widths.choices
        .map((width, e) => {
          const split = splitHeads(x, width, count, padded);
          const weights = [heads.weight && pick(heads.weight, h), widths.weight && pick(widths.weight, e)];
          return weights.reduce<Value>((all, weight) => (weight === undefined ? all : mul(all, weight)), split);
        })
        .reduce((all, part) => add(all, part));
    const scores = mul(matMul(mixed(q), transposed(mixed(k))), 1 / Math.sqrt(padded));
    return joinHeads(matMul(attend(scores, options), mixed(v)), full);
  });
  return parts.reduce((all, part) => add(all, part));
}

/** Attention of one number of heads over one width; `share` (of the choices taken) multiplies q, k and v, as in the mixture. */
export function chosenAttention(
  q: Value,
  k: Value,
  v: Value,
  heads: number,
  options: AttentionOptions,
  shares: { readonly inputs?: Value; readonly output?: Value } = {},
): Value {
  const width = Number(q.shape[2]);
  const shared = (x: Value) => (shares.inputs === undefined ? x : mul(x, shares.inputs));
  const [a, b, c] = [q, k, v].map((x) => splitHeads(shared(x), width, heads, width / heads));
  const scores = matMul(mul(a, Math.sqrt(heads / width)), transposed(b));
  const output = joinHeads(matMul(attend(scores, options), c), width);
  return shares.output === undefined ? output : mul(output, shares.output);
}

/**
 * The sizes that a width can have, one for each choice of the decision that it depends on, checked against q's last
 * axis. One where the heads have a fixed size: then the heads themselves are superposed in q, k and v.
 */
export function widthsOf(width: Size, q: Value, heads: number | Decision): number[] {
  const found = Number(q.shape[2]);
  if (q.shape.length !== 3 || found !== largestSize(width)) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "attention: q does not have the largest width",
      expected: `[batch, length, ${largestSize(width)}]`,
      found: `[${q.shape}]`,
    });
  }
  const [decision, ...others] = decisionsOf(width);
  const ofFixedSize = typeof heads !== "number" && decision?.name === heads.name && others.length === 0;
  if (decision === undefined || ofFixedSize) return [largestSize(width)];
  if (others.length === 0) return decision.choices.map((choice) => sizeOf(width, () => choice));
  throw new LoomweightError({
    code: "INVALID_OPTION",
    option: "width",
    problem: "attention: the width depends on two decisions",
    expected: "one decision: a width, or the number of heads of a fixed size",
    found: [decision, ...others].map(({ name }) => name).join(", "),
  });
}

function wrongHeads(width: number, heads: number): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    option: "heads",
    problem: "attention: the width does not divide into heads",
    expected: `a divisor of ${width}`,
    found: `${heads}`,
  });
}

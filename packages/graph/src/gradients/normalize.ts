import { elementCount } from "@loomweight/tensor";
import { floatOf, intOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { concreteShape, plus, scaled, sumToShape, times } from "../gradient/algebra.ts";
import { defineGradients, type GradientCall, type GradientRule, operand } from "../gradient/rule.ts";
import { add, div, mul, reciprocal, sqrt, sub } from "../ops/elementwise.ts";
import { cast } from "../ops/logic.ts";
import { reduceMean, reduceSum } from "../ops/reduce.ts";
import { reshape } from "../ops/shape.ts";
import type { Value } from "../value.ts";

const epsilonOf = (call: GradientCall, otherwise: number): number => floatOf(call, "epsilon", otherwise);

/** x̂ = (x − mean) · r and r = 1 / √(variance + ε) over axes; without `centered` the mean is taken as 0. */
export function standardized(
  x: Value,
  axes: readonly number[],
  epsilon: number,
  centered: boolean,
): { normed: Value; inverse: Value } {
  const deviation = centered ? sub(x, reduceMean(x, axes)) : x;
  const inverse = reciprocal(sqrt(add(reduceMean(mul(deviation, deviation), axes), epsilon)));
  return { normed: mul(deviation, inverse), inverse };
}

/** dL/dx of x̂ = (x − mean) · r, from g = dL/dx̂: r (g − mean(g) − x̂ mean(g x̂)). */
export function throughStandardized(
  g: Value,
  { normed, inverse }: { readonly normed: Value; readonly inverse: Value },
  axes: readonly number[],
  centered: boolean,
): Value {
  const tilted = sub(g, mul(normed, reduceMean(mul(g, normed), axes)));
  return mul(inverse, centered ? sub(tilted, reduceMean(g, axes)) : tilted);
}

/**
 * y = x̂ · scale + bias over the axes from `axis` on; outputs mean and r as well where they are asked for:
 * dL/dx += dmean / n − dr · r² x̂ / n.
 */
function overLastAxes(centered: boolean): GradientRule {
  return (call) => {
    const [dy, dMean, dInverse] = call.upstream.map((each) => each && cast(each, operand(call, 0).dtype));
    const [x, scale, bias] = [operand(call, 0), operand(call, 1), call.inputs[2]];
    const shape = concreteShape(call, x);
    const first = normalizeAxis(intOf(call, "axis", -1), shape.length, call.op);
    const axes = shape.map((_, axis) => axis).slice(first);
    const count = elementCount(shape.slice(first));
    const parts = standardized(x, axes, epsilonOf(call, 1e-5), centered);
    const pieces: Value[] = [];
    if (call.wants[0] && dy !== undefined) {
      pieces.push(throughStandardized(times(dy, scale), parts, axes, centered));
    }
    if (call.wants[0] && centered && dMean !== undefined) pieces.push(add(scaled(dMean, 1 / count), mul(x, 0)));
    const spreadOf = centered ? dInverse : dMean;
    if (call.wants[0] && spreadOf !== undefined) {
      const { normed, inverse } = parts;
      pieces.push(mul(normed, mul(scaled(spreadOf, -1 / count), mul(inverse, inverse))));
    }
    return [
      pieces.length === 0 ? undefined : pieces.reduce(plus),
      call.wants[1] && dy !== undefined ? sumToShape(times(dy, parts.normed), scale.shape, call.op) : undefined,
      call.wants[2] && bias && dy !== undefined ? sumToShape(dy, bias.shape, call.op) : undefined,
    ];
  };
}

/** A vector per channel as [channels, 1, …], to meet x [batch, channels, …]. */
export function perChannel(vector: Value, rank: number): Value {
  return reshape(vector, [-1, ...new Array<number>(Math.max(0, rank - 2)).fill(1)]);
}

/** All axes but the channels'. */
export const channelAxes = (rank: number): number[] => [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2)];

/** Normalizations. */
export const normalizeGradients = /* @__PURE__ */ defineGradients({
  LayerNormalization: overLastAxes(true),
  SimplifiedLayerNormalization: overLastAxes(false),
  RMSNormalization: overLastAxes(false),
  /**
   * Training: statistics of the batch, running = momentum · old + (1 − momentum) · batch. Else y = (x − mean) r scale
   * + bias with recorded statistics.
   */
  BatchNormalization(call) {
    const [dy, dMean, dVariance] = call.upstream;
    const [x, scale] = [operand(call, 0), operand(call, 1)];
    const rank = x.shape.length;
    const axes = channelAxes(rank);
    const gain = perChannel(scale, rank);
    const epsilon = epsilonOf(call, 1e-5);
    const perChannelSum = (value: Value) => reduceSum(value, axes, false);
    if (intOf(call, "training_mode", 0) === 0) {
      if (dy === undefined) return [];
      const [mean, variance] = [operand(call, 3), operand(call, 4)];
      const inverse = perChannel(reciprocal(sqrt(add(variance, epsilon))), rank);
      const g = times(dy, gain);
      const normed = mul(sub(x, perChannel(mean, rank)), inverse);
      const dInput = mul(g, inverse);
      return [
        dInput,
        call.wants[1] ? perChannelSum(times(dy, normed)) : undefined,
        call.wants[2] ? perChannelSum(dy) : undefined,
        call.wants[3] ? scaled(perChannelSum(dInput), -1) : undefined,
        call.wants[4] ? scaled(div(perChannelSum(mul(g, normed)), add(variance, epsilon)), -0.5) : undefined,
      ];
    }
    const shape = concreteShape(call, x);
    const count = elementCount(axes.map((axis) => shape[axis]));
    const fresh = 1 - floatOf(call, "momentum", 0.9);
    const parts = standardized(x, axes, epsilon, true);
    const pieces: Value[] = [];
    if (dy !== undefined) pieces.push(throughStandardized(times(dy, gain), parts, axes, true));
    if (dMean !== undefined) pieces.push(add(mul(x, 0), perChannel(scaled(dMean, fresh / count), rank)));
    if (dVariance !== undefined) {
      const deviation = sub(x, reduceMean(x, axes));
      pieces.push(mul(deviation, perChannel(scaled(dVariance, (2 * fresh) / count), rank)));
    }
    const kept = 1 - fresh;
    return [
      call.wants[0] ? pieces.reduce(plus) : undefined,
      call.wants[1] && dy !== undefined ? perChannelSum(times(dy, parts.normed)) : undefined,
      call.wants[2] && dy !== undefined ? perChannelSum(dy) : undefined,
      call.wants[3] && dMean !== undefined ? scaled(dMean, kept) : undefined,
      call.wants[4] && dVariance !== undefined ? scaled(dVariance, kept) : undefined,
    ];
  },
});

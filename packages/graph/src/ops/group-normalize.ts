import { elementCount } from "@loomweight/tensor";
import { float, floatOf, int, intOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { numbersTensor } from "../evaluate/numbers.ts";
import { applyOne, defineOps, type OpCall, type OpRule, ruleOf, type ValueType } from "../op.ts";
import type { Value } from "../value.ts";
import { byParts, type DecomposedCall, type Decomposition } from "./decompose.ts";
import { abs, add, div, mul, pow } from "./elementwise.ts";
import { pad, slice } from "./indexing.ts";
import { equal, where } from "./logic.ts";
import { layerNormalization } from "./normalize.ts";
import { reduceL2, reduceSum } from "./reduce.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";
import { reshape } from "./shape.ts";

const sizesOf = (call: DecomposedCall, x: Value): readonly number[] => {
  const { shape } = x;
  if (shape.every((size) => typeof size === "number")) return shape as readonly number[];
  throw badShape(call, `[${shape}] has sizes that are not known`);
};

/** Each row of x [batch, groups, elements of a group] brought to mean 0 and variance 1, then scaled and shifted per channel. */
function inGroups(call: DecomposedCall, groups: number): Value {
  const [x, scale, bias] = call.inputs as [Value, Value, Value];
  const shape = sizesOf(call, x);
  const [batch, channels, ...spatial] = shape;
  const width = elementCount([channels / groups, ...spatial]);
  const ones = { ...numbersTensor([1], [1], x.dtype, call.op), shape: [width], stride: [0] };
  const normed = layerNormalization(reshape(x, [batch, groups, width]), ones, undefined, {
    epsilon: floatOf(call, "epsilon", 1e-5),
  });
  // Before opset 21 there was one scale per group.
  const perGroup = scale.shape[0] === groups && groups !== channels;
  const along = perGroup ? [batch, groups, channels / groups, ...spatial] : shape;
  const ends = new Array<number>(along.length - 2).fill(1);
  const scaledUp = add(mul(reshape(normed, along), reshape(scale, [-1, ...ends])), reshape(bias, [-1, ...ends]));
  return perGroup ? reshape(scaledUp, shape) : scaledUp;
}

/** GroupNormalization as reshapes around LayerNormalization. */
export const groupNormalizationByParts: Decomposition = (call) => [inGroups(call, intOf(call, "num_groups", 1))];

/** InstanceNormalization: as many groups as channels. */
export const instanceNormalizationByParts: Decomposition = (call) => [
  inGroups(call, sizesOf(call, call.inputs[0] as Value)[1]),
];

/** x / ‖x‖ along an axis; 0 stays 0. */
export const lpNormalizationByParts: Decomposition = (call) => {
  const x = call.inputs[0] as Value;
  const axis = normalizeAxis(intOf(call, "axis", -1), x.shape.length, call.op);
  const norm = intOf(call, "p", 2) === 1 ? reduceSum(abs(x), [axis]) : reduceL2(x, [axis]);
  return [div(x, where(equal(norm, 0), 1, norm))];
};

/** x / (bias + alpha / size · Σ x² of neighbouring channels)^beta */
export const lrnByParts: Decomposition = (call) => {
  const x = call.inputs[0] as Value;
  const [, channels, ...spatial] = sizesOf(call, x);
  const size = intOf(call, "size", 1);
  const before = Math.floor((size - 1) / 2);
  const ends = spatial.map(() => 0);
  const squares = pad(mul(x, x), [0, before, ...ends, 0, size - 1 - before, ...ends]);
  let sum = slice(squares, { starts: [0], ends: [channels], axes: [1] });
  for (let k = 1; k < size; k++) sum = add(sum, slice(squares, { starts: [k], ends: [k + channels], axes: [1] }));
  const alpha = floatOf(call, "alpha", 1e-4);
  const base = add(mul(sum, alpha / size), floatOf(call, "bias", 1));
  return [mul(x, pow(base, -floatOf(call, "beta", 0.75)))];
};

const sameAsInput = (call: OpCall): ValueType[] => {
  requireFloat(call, 0);
  return [{ dtype: sameDtype(call), shape: inputOf(call, 0).shape }];
};

/** Scale and bias must be vectors as long as x has channels (or groups). */
function perChannelRule(decompose: Decomposition, groups: boolean): Pick<OpRule, "inputs" | "infer" | "evaluate"> {
  return {
    inputs: [3, 3],
    infer(call) {
      const { shape } = inputOf(call, 0);
      const channels = shape[1];
      const count = groups ? intOf(call, "num_groups", 1) : channels;
      if (shape.length < 3) throw badShape(call, `x [${shape}] must be [batch, channels, …]`);
      if (typeof channels === "number" && typeof count === "number" && channels % count !== 0) {
        throw badShape(call, `${channels} channels cannot form ${count} groups`);
      }
      for (const index of [1, 2]) {
        const vector = inputOf(call, index).shape;
        const [length] = vector;
        const fits = typeof length !== "number" || typeof channels !== "number" || [channels, count].includes(length);
        if (vector.length !== 1 || !fits) throw badShape(call, `[${vector}] is no vector of ${channels} channels`);
      }
      return sameAsInput(call);
    },
    evaluate: byParts(decompose),
  };
}

/** Normalizations over groups of channels, over a norm, and across channels. */
export const groupNormalizeOps = /* @__PURE__ */ defineOps({
  /** No WebGPU kernel. */
  GroupNormalization: {
    ...perChannelRule(groupNormalizationByParts, true),
    samples: [{ inputs: [[2, 4, 3, 2], [4], [4]], attributes: { num_groups: int(2), epsilon: float(0.01) } }],
  },
  InstanceNormalization: {
    ...perChannelRule(instanceNormalizationByParts, false),
    samples: [{ inputs: [[2, 3, 5], [3], [3]] }, { inputs: [[1, 2, 3, 3], [2], [2]] }],
  },
  LpNormalization: {
    inputs: [1, 1],
    infer(call) {
      normalizeAxis(intOf(call, "axis", -1), inputOf(call, 0).shape.length, call.op);
      return sameAsInput(call);
    },
    evaluate: byParts(lpNormalizationByParts),
    samples: [{ inputs: [[2, 3, 4]] }, { inputs: [[2, 3, 4]], attributes: { axis: int(1), p: int(1) } }],
  },
  /** No WebGPU kernel. */
  LRN: {
    inputs: [1, 1],
    infer: sameAsInput,
    evaluate: byParts(lrnByParts),
    samples: [
      { inputs: [[1, 5, 2, 2]], attributes: { size: int(3), alpha: float(0.5), beta: float(0.75), bias: float(1) } },
      { inputs: [[2, 4, 2, 3]], attributes: { size: int(5) } },
    ],
  },
});

/** (x − mean) / √(variance + ε) · scale + bias with the statistics of each group of channels; scale, bias [channels]. No WebGPU kernel. */
export function groupNormalization(
  x: Value,
  scale: Value,
  bias: Value,
  groups: number,
  { epsilon = 1e-5 }: { readonly epsilon?: number } = {},
): Value {
  const attributes = { num_groups: int(groups), epsilon: float(epsilon) };
  return applyOne(ruleOf(groupNormalizeOps, "GroupNormalization"), [x, scale, bias], attributes);
}

/** The same for each channel of each example alone. */
export function instanceNormalization(
  x: Value,
  scale: Value,
  bias: Value,
  { epsilon = 1e-5 }: { readonly epsilon?: number } = {},
): Value {
  return applyOne(ruleOf(groupNormalizeOps, "InstanceNormalization"), [x, scale, bias], { epsilon: float(epsilon) });
}

/** x divided by its norm along `axis`, default the last; `p` 1 or 2 */
export function lpNormalization(
  x: Value,
  { axis = -1, p = 2 }: { readonly axis?: number; readonly p?: 1 | 2 } = {},
): Value {
  return applyOne(ruleOf(groupNormalizeOps, "LpNormalization"), [x], { axis: int(axis), p: int(p) });
}

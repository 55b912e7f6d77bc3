import { add, concat, cos, div, mul, neg, reshape, sin, slice, sub, tile, type Value } from "@loomweight/graph";
import { choice, fromData, integer, invalidOption, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter, type ParamDim } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { note, option } from "../peft/field.ts";

const options = {
  variant: choice(
    ["road_1", "road_2", "road_4"],
    "road_1",
    "road_1: one angle and length a pair of outputs; road_2: one an output; road_4: apart for cosine and sine",
  ),
  groupSize: integer(64, "outputs of a group, whose halves turn into each other", { min: 2 }),
};
type RoadOptions = OptionValues<typeof options>;

/**
 * RoAd: the outputs of a layer turn in pairs, W′ = R W and b′ = R b: in every group of `groupSize` outputs with halves
 * x₁, x₂: y₁ = c ∘ x₁ − s ∘ x₂, y₂ = c ∘ x₂ + s ∘ x₁, c = length · cos(angle), s = length · sin(angle).
 * Source: Liao & Monz 2024, arXiv:2409.00119. As PEFT computes it.
 */
export const road = defineAdapter({
  name: "road",
  source: "arXiv:2409.00119",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, given) => {
    const { groupSize } = given;
    if (groupSize % 2 !== 0 || layer.out % groupSize !== 0) {
      throw invalidOption(
        { option: "road.groupSize" },
        groupSize,
        `an even divisor of the layer's ${layer.out} outputs`,
      );
    }
    return { angle: [parameterDim(given)], length: [parameterDim(given)] };
  },
  init: (layer, given) => {
    const size = layer.out * numbersPerOutput(given);
    // No turn, length one.
    return { angle: zeros([size]), length: fromData("float32", new Float32Array(size).fill(1), [size]) };
  },
  apply: (layer, { angle, length }, x, given) => {
    const y = layer.forward(x);
    const { c, s } = coefficients(layer, angle, length, given);
    const lead = y.shape.slice(0, -1);
    const groups = reshape(y, [...lead.map(() => 0), layer.out / given.groupSize, 2, given.groupSize / 2]);
    return reshape(turn(groups, c, s, lead.length + 1), [...lead.map(() => 0), layer.out]);
  },
  weight: (layer, { angle, length }, given) =>
    turnRows(layer, layer.weight, coefficients(layer, angle, length, given), given),
  original: (layer, { angle, length }, given) =>
    turnRows(layer, layer.weight, inverse(coefficients(layer, angle, length, given)), given),
  bias: {
    needs: ["angle", "length"],
    missing: "skip",
    change: (bias, layer, { angle, length }, given) =>
      turnBias(bias, layer, coefficients(layer, angle, length, given), given),
    original: (bias, layer, { angle, length }, given) =>
      turnBias(bias, layer, inverse(coefficients(layer, angle, length, given)), given),
  },
  tiling: (_layer, { groupSize }) => ({ out: groupSize }),
  files: {
    peftTypes: ["ROAD"],
    fields: { group_size: option(64), init_weights: note(true), variant: option("road_1") },
    optionFields: { variant: "variant", groupSize: "group_size" },
    suffixes: { road_theta: { param: "angle" }, road_alpha: { param: "length" } },
    biasOfAdapted: [],
  },
});

/** Options of `road`, checked. */
export type { RoadOptions };

function numbersPerOutput({ variant }: RoadOptions): number {
  return variant === "road_1" ? 0.5 : variant === "road_2" ? 1 : 2;
}

function parameterDim(given: RoadOptions): ParamDim {
  return { along: "out", per: 1 / numbersPerOutput(given) };
}

/** c and s of every output, [groups, 2, groupSize / 2]. */
function coefficients(
  layer: Pick<LayerShape, "out">,
  angle: Value,
  length: Value,
  { variant, groupSize }: RoadOptions,
): { c: Value; s: Value } {
  const half = groupSize / 2;
  const groups = layer.out / groupSize;
  if (variant === "road_4") {
    // In every group first the numbers of the cosines, then those of the sines.
    const part = (x: Value, which: 0 | 1) =>
      reshape(slice(reshape(x, [groups, 2, groupSize]), { starts: [which], ends: [which + 1], axes: [1] }), [
        groups,
        2,
        half,
      ]);
    return { c: mul(part(length, 0), cos(part(angle, 0))), s: mul(part(length, 1), sin(part(angle, 1))) };
  }
  const spread = (x: Value) =>
    variant === "road_1" ? tile(reshape(x, [groups, 1, half]), [1, 2, 1]) : reshape(x, [groups, 2, half]);
  const own = spread(length);
  return { c: mul(own, cos(spread(angle))), s: mul(own, sin(spread(angle))) };
}

/** Coefficients of the turn back: each pair is a matrix [[c₁, −s₁], [s₂, c₂]], whose inverse has the same form. */
function inverse({ c, s }: { c: Value; s: Value }): { c: Value; s: Value } {
  const determinant = add(mul(c, swapped(c, 1)), mul(s, swapped(s, 1)));
  return { c: div(swapped(c, 1), determinant), s: neg(div(s, determinant)) };
}

/** A bias [out] turned as the rows of a weight are. */
function turnBias(
  bias: Value,
  { out }: Pick<LayerShape, "out">,
  coefficients: { c: Value; s: Value },
  given: RoadOptions,
): Value {
  return reshape(turnRows({ out, in: 1 }, reshape(bias, [out, 1]), coefficients, given), [out]);
}

/** The halves (two entries of `axis`) of every group exchanged. */
function swapped(x: Value, axis: number): Value {
  const half = (at: number) => slice(x, { starts: [at], ends: [at + 1], axes: [axis] });
  return concat([half(1), half(0)], axis);
}

/** y₁ = c x₁ − s x₂, y₂ = c x₂ + s x₁ with the halves along `axis`. */
function turn(x: Value, c: Value, s: Value, axis: number): Value {
  const half = (of: Value, at: number, along: number) => slice(of, { starts: [at], ends: [at + 1], axes: [along] });
  const along = c.shape.length - (x.shape.length - axis);
  const [x1, x2] = [half(x, 0, axis), half(x, 1, axis)];
  const [c1, c2, s1, s2] = [half(c, 0, along), half(c, 1, along), half(s, 0, along), half(s, 1, along)];
  return concat([sub(mul(c1, x1), mul(s1, x2)), add(mul(c2, x2), mul(s2, x1))], axis);
}

/** The same for the rows of a matrix [out, in]. */
function turnRows(
  { out, in: width }: Pick<LayerShape, "out" | "in">,
  rows: Value,
  { c, s }: { c: Value; s: Value },
  { groupSize }: RoadOptions,
): Value {
  const [groups, half] = [out / groupSize, groupSize / 2];
  const column = (x: Value) => reshape(x, [groups, 2, half, 1]);
  return reshape(turn(reshape(rows, [groups, 2, half, width]), column(c), column(s), 1), [out, width]);
}

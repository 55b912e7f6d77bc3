import {
  add,
  cast,
  concat,
  cos as cosOf,
  div,
  size as elements,
  expand,
  greater,
  max,
  mul,
  pow,
  range,
  reduceMax,
  reshape,
  rotaryEmbedding,
  shapeOf,
  sin as sinOf,
  split,
  sub,
  unsqueeze,
  type Value,
  where,
} from "@loomweight/graph";
import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { idValues } from "./columns.ts";
import { cosSin } from "./cos-sin.ts";
import { flatHeads } from "./flat-heads.ts";
import type { Module } from "./module.ts";
import type { Rope } from "./rope-config.ts";

/** Size of the part of a head that turns. */
export function rotatedSize({ partial }: Rope, headDim: number): number {
  return Math.floor(headDim * partial);
}

/**
 * Angle per position of each pair of a turned part of `size`: theta^(−2i / size), then scaled. Rounded to float32 at each
 * step, as the reference does: at position 10⁵ a last bit here is 0.006 radians. Dynamic scaling gives the angles below
 * its maximum, longrope those of short texts; `long` asks for the others.
 * Source: Su et al. 2021, arXiv:2104.09864; yarn: Peng et al. 2023, arXiv:2309.00071; longrope: Ding et al. 2024,
 * arXiv:2402.13753; llama3: Llama 3.1; all as in transformers' modeling_rope_utils.
 */
export function inverseFrequencies(rope: Rope, size: number, { long = false } = {}): Float32Array {
  const powers = Float32Array.from({ length: size / 2 }, (_, i) => rope.theta ** Math.fround((2 * i) / size));
  const frequencies = powers.map((power) => 1 / power);
  if (rope.type === "default" || rope.type === "dynamic") return frequencies;
  if (rope.type === "linear") return frequencies.map((frequency) => frequency / rope.factor);
  if (rope.type === "longrope") {
    const factors = long ? rope.longFactor : rope.shortFactor;
    if (factors.length !== powers.length) throw wrongFactors(factors.length, powers.length, long);
    return powers.map((power, i) => 1 / Math.fround(Math.fround(factors[i]) * power));
  }
  if (rope.type === "yarn") return yarnFrequencies(rope, powers, size);
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions } = rope;
  return frequencies.map((frequency) => {
    const wavelength = Math.fround((2 * Math.PI) / frequency);
    if (wavelength < originalPositions / high) return frequency;
    if (wavelength > originalPositions / low) return frequency / factor;
    const share = Math.fround(Math.fround(Math.fround(originalPositions / wavelength) - low) / (high - low));
    return Math.fround(((1 - share) * frequency) / factor) + Math.fround(share * frequency);
  });
}

/** Fast pairs keep their frequency, slow ones are divided by `factor`, between them a ramp over the pairs' indices. */
function yarnFrequencies(rope: Rope & { type: "yarn" }, powers: Float32Array, size: number): Float32Array {
  const { theta, factor, betaFast, betaSlow, originalPositions, truncate } = rope;
  const pairThatTurns = (rotations: number) =>
    (size * Math.log(originalPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const [from, to] = [pairThatTurns(betaFast), pairThatTurns(betaSlow)];
  const low = Math.max(truncate ? Math.floor(from) : from, 0);
  const high = Math.min(truncate ? Math.ceil(to) : to, size - 1);
  const width = high === low ? 0.001 : high - low;
  return powers.map((power, i) => {
    const ramp = Math.fround(Math.min(Math.max(Math.fround(i - low) / width, 0), 1));
    const kept = Math.fround(1 - ramp);
    return Math.fround(Math.fround(1 / Math.fround(factor * power)) * (1 - kept)) + Math.fround(1 / power) * kept;
  });
}

/** Cosines and sines of the angles at the positions of a batch: [batch, sequence, 1, size / 2] each. */
export interface Rotation {
  readonly cos: Value;
  readonly sin: Value;
  /** Size of the turned part of a head. */
  readonly size: number;
  /** What RotaryEmbedding takes: cos and sin as rows [rows, size / 2], and int64 [batch, sequence] which row a token turns by, or [1] the first. */
  readonly rows?: { readonly cos: Value; readonly sin: Value; readonly places: Value };
  /**
   * What GroupQueryAttention takes to turn queries and keys itself: the same rows, followed by as many as there are tokens in
   * all, which nothing turns by; it wants that many.
   */
  readonly caches?: { readonly cos: Value; readonly sin: Value; readonly places: Value };
}

/** Positions of tokens. */
export type Positions =
  /** int64 [batch, sequence], below `most` where nothing may run on the CPU; `total` tokens with cached ones, int64 [1]. */
  | { readonly ids: Value; readonly most: number; readonly total?: Value }
  /** float32 [sequence], the same for all rows: 1, 2, … */
  | { readonly columns: Value };

/**
 * Angles are computed in float32, whatever the graph computes in: half precision cannot hold a position times a frequency.
 */
export function rotationAt(
  { fused, cpuOnly, gpuOnly, weights: { dtype } }: Pick<Module, "fused" | "cpuOnly" | "gpuOnly" | "weights">,
  positions: Positions,
  rope: Rope,
  headDim: number,
): Rotation {
  const size = rotatedSize(rope, headDim);
  const places = positionValues(positions, gpuOnly); // [batch, sequence]
  const angles = mul(unsqueeze(places, [2]), frequenciesAt(places, rope, size));
  const factor = "attentionFactor" in rope ? rope.attentionFactor : 1;
  const table = (values: Value) => cast(factor === 1 ? values : mul(values, factor), dtype);
  const angle = cpuOnly ? { cos: cosOf(angles), sin: sinOf(angles) } : cosSin(angles);
  const [cos, sin] = [table(angle.cos), table(angle.sin)]; // [batch, sequence, size / 2]
  const rotation = { cos: unsqueeze(cos, [2]), sin: unsqueeze(sin, [2]), size };
  const rowOf = rowsOf(positions, gpuOnly);
  if (!fused.has("RotaryEmbedding") || rowOf === undefined) return rotation;
  const flat = (values: Value) => reshape(values, [-1, size / 2]);
  const rows = { cos: flat(cos), sin: flat(sin), places: rowOf };
  if ("columns" in positions || positions.total === undefined) return { ...rotation, rows };
  const spare = expand(cast(fromData("float32", new Float32Array(size / 2), [1, size / 2]), dtype), [
    positions.total,
    size / 2,
  ]);
  const longer = (values: Value) => concat([values, spare], 0);
  return { ...rotation, rows, caches: { cos: longer(rows.cos), sin: longer(rows.sin), places: rowOf } };
}

/** Positions in float32 [batch, sequence]. */
function positionValues(positions: Positions, gpuOnly: boolean): Value {
  if ("columns" in positions) return unsqueeze(sub(positions.columns, 1), [0]);
  return gpuOnly ? idValues(positions.ids, positions.most) : cast(positions.ids, "float32");
}

/** The row of each token: 0, 1, 2, … in the shape of the ids, or where all rows are alike the first. GPUs cannot count in int64. */
function rowsOf(positions: Positions, gpuOnly: boolean): Value | undefined {
  if ("columns" in positions) return fromData("int64", BigInt64Array.of(0n), [1]);
  if (gpuOnly) return undefined;
  return reshape(range(int64(0), elements(positions.ids), int64(1)), shapeOf(positions.ids));
}

/** Frequencies [size / 2]; of dynamic and longrope they follow from the largest position of the batch. */
function frequenciesAt(positions: Value, rope: Rope, size: number): Value {
  const constant = (values: Float32Array): Tensor => fromData("float32", values, [values.length]);
  const short = constant(inverseFrequencies(rope, size));
  if (rope.type !== "dynamic" && rope.type !== "longrope") return short;
  const length = add(reduceMax(positions, [0, 1], false), 1);
  if (rope.type === "longrope") {
    const isLong = greater(length, scalar(rope.originalPositions));
    return where(isLong, constant(inverseFrequencies(rope, size, { long: true })), short);
  }
  const { theta, factor, maxPositions } = rope;
  const stretch = sub(mul(div(max(length, scalar(maxPositions)), maxPositions), factor), factor - 1);
  const base = mul(pow(stretch, scalar(size / (size - 2))), theta);
  return div(scalar(1), pow(base, constant(Float32Array.from({ length: size / 2 }, (_, i) => (2 * i) / size))));
}

const scalar = (value: number) => fromData("float32", Float32Array.of(value), []);
const int64 = (value: number) => fromData("int64", BigInt64Array.of(BigInt(value)), []);

/** Turns the first part of x [batch, sequence, heads, headDim] by halves: element i with i + size / 2; the rest passes. */
export function rotate(x: Value, rotation: Rotation): Value {
  const [heads, headDim] = [x.shape[2] as number, x.shape[3] as number];
  if (rotation.rows !== undefined) {
    const { rows, size } = rotation;
    // the operator wants both of a part of a head, and neither of a whole one
    const options = size === headDim ? {} : { heads, rotaryDim: size };
    const turned = rotaryEmbedding(flatHeads(x, heads * headDim), rows.places, rows.cos, rows.sin, options);
    return reshape(turned, [0, 0, heads, headDim]);
  }
  if (rotation.size === headDim) return turned(x, rotation);
  const [front, rest] = split(x, [rotation.size, headDim - rotation.size], -1);
  return concat([turned(front, rotation), rest], -1);
}

function turned(x: Value, { cos, sin }: Rotation): Value {
  const [first, second] = split(x, 2, -1);
  return concat([sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))], -1);
}

function wrongFactors(found: number, expected: number, long: boolean): LoomweightError {
  return new LoomweightError({
    code: "INVALID_CONFIG",
    problem: `invalid value of "rope_scaling.${long ? "long" : "short"}_factor"`,
    expected: `${expected} numbers, one for each turned pair of a head`,
    found: `${found}`,
  });
}

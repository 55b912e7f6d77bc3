import { elementCount, type Tensor } from "@loomweight/tensor";
import { intOf, intsOf } from "../attributes.ts";
import { tensorOf } from "../evaluate/numbers.ts";
import { concreteShape, filled, scaled, spread, times } from "../gradient/algebra.ts";
import { throughParts } from "../gradient/by-parts.ts";
import { defineGradients, type GradientCall, type GradientRule, operand, unary } from "../gradient/rule.ts";
import { conv, convTranspose, maxPool as poolLargest, resize } from "../ops/convolution.ts";
import { add, mul } from "../ops/elementwise.ts";
import { pad, slice } from "../ops/indexing.ts";
import { cast, equal, where } from "../ops/logic.ts";
import { reduceMax, reduceSum } from "../ops/reduce.ts";
import { resizeByParts } from "../ops/resize-parts.ts";
import { concat, expand, reshape, split, transpose } from "../ops/shape.ts";
import { padBefore, paddedCounts, slide, transposedWindow, type Window, windowOf } from "../ops/window.ts";
import type { Value } from "../value.ts";
import { fit } from "./indexing.ts";

/** A window whose padding is known as numbers; after each axis it follows from the sizes. */
interface Geometry {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly before: readonly number[];
}

const geometryOf = (window: Window, sizes: readonly number[], out: readonly number[]): Geometry => ({
  ...window,
  before: padBefore(window, sizes, out),
});

/** x cut off at the end of spatial axes where `after` is negative, and padding that is not. */
function cutEnds(x: Value, sizes: readonly number[], after: readonly number[]): { x: Value; after: number[] } {
  const axes = after.flatMap((each, axis) => (each < 0 ? [axis] : []));
  const cut =
    axes.length === 0
      ? x
      : slice(x, {
          starts: axes.map(() => 0),
          ends: axes.map((axis) => sizes[axis] + after[axis]),
          axes: axes.map((axis) => axis + 2),
        });
  return { x: cut, after: after.map((each) => Math.max(0, each)) };
}

/** The convolution with exactly `out` places along each axis. */
function convolveTo(
  x: Value,
  weight: Value,
  sizes: readonly number[],
  out: readonly number[],
  { kernel, strides, dilations, before }: Geometry,
  group: number,
): Value {
  const reach = out.map((count, axis) => (count - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1);
  const cut = cutEnds(
    x,
    sizes,
    reach.map((length, axis) => length - sizes[axis] - before[axis]),
  );
  return conv(cut.x, weight, undefined, { strides, dilations, pads: [...before, ...cut.after], group });
}

/** The transposed convolution with exactly `out` places along each axis: 0 where no window reaches. */
function spreadTo(
  dy: Value,
  weight: Value,
  counts: readonly number[],
  out: readonly number[],
  { kernel, strides, dilations, before }: Geometry,
  group: number,
): Value {
  const reach = counts.map((count, axis) => (count - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1);
  const after = reach.map((length, axis) => length - before[axis] - out[axis]);
  const pads = [...before, ...after.map((each) => Math.max(0, each))];
  const dx =
    counts.length === 3
      ? spreadVolume(dy, weight, { strides, dilations, pads, group })
      : transposed(dy, weight, { strides, dilations, pads, group });
  if (after.every((each) => each >= 0)) return dx;
  const ends = [0, 0, ...after.map((each) => Math.max(0, -each))];
  return pad(dx, [...ends.map(() => 0), ...ends]);
}

interface Spread {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  readonly group: number;
}

/** ConvTranspose; several filters over one channel per group one after another, which WebGPU's kernel gets wrong. */
function transposed(dy: Value, weight: Value, { group, ...window }: Spread): Value {
  const [filters, perGroup, ...kernel] = weight.shape as readonly number[];
  const multiple = filters / group;
  if (group === 1 || perGroup !== 1 || multiple === 1)
    return convTranspose(dy, weight, undefined, { ...window, group });
  const [batch, , ...sizes] = dy.shape as readonly number[];
  const apart = split(reshape(dy, [batch, group, multiple, ...sizes]), new Array<number>(multiple).fill(1), 2);
  const weights = split(reshape(weight, [group, multiple, ...kernel]), new Array<number>(multiple).fill(1), 1);
  return apart
    .map((part, index) =>
      convTranspose(reshape(part, [batch, group, ...sizes]), weights[index], undefined, { ...window, group }),
    )
    .reduce((total, part) => add(total, part));
}

/** The same over three spatial axes, for which WebGPU has Conv alone: dy with zeros between, meeting mirrored filters. */
function spreadVolume(dy: Value, weight: Value, { strides, dilations, pads, group }: Spread): Value {
  const [batch, filters, ...counts] = dy.shape as readonly number[];
  const [, perGroup, ...kernel] = weight.shape as readonly number[];
  const axes = counts.map((_, axis) => axis);
  const spaced = strides.every((stride) => stride === 1)
    ? dy
    : reshape(
        pad(reshape(dy, [batch, filters, ...counts.flatMap((size) => [size, 1])]), [
          ...new Array<number>(2 + 6).fill(0),
          0,
          0,
          ...strides.flatMap((stride) => [0, stride - 1]),
        ]),
        [batch, filters, ...counts.map((size, axis) => size * strides[axis])],
      );
  const mirrored = slice(weight, {
    starts: axes.map(() => -1),
    ends: axes.map(() => Number.NEGATIVE_INFINITY),
    axes: axes.map((axis) => axis + 2),
    steps: axes.map(() => -1),
  });
  const turned = reshape(
    transpose(reshape(mirrored, [group, filters / group, perGroup, ...kernel]), [0, 2, 1, 3, 4, 5]),
    [group * perGroup, filters / group, ...kernel],
  );
  const reach = kernel.map((length, axis) => (length - 1) * dilations[axis]);
  // The zeros after the last element of dy are one stride long already.
  const before = axes.map((axis) => reach[axis] - pads[axis]);
  const after = axes.map((axis) => reach[axis] - pads[axis + 3] - (strides[axis] - 1));
  const sizes = [batch, filters, ...counts.map((size, axis) => size * strides[axis])];
  const shape = [batch, filters, ...axes.map((axis) => sizes[axis + 2] + before[axis] + after[axis])];
  return conv(fit(spaced, sizes, [0, 0, ...before], shape), turned, undefined, { dilations, group });
}

/**
 * The weight's gradient [out, in / group, …] from x [batch, in, …] and dy [batch, out, …]: x convolved with dy, batch
 * and channels exchanged, strides and dilations exchanged.
 */
function weightGradient(x: Value, dy: Value, geometry: Geometry, group: number): Value {
  const [batch, channels, ...sizes] = x.shape as readonly number[];
  const counts = dy.shape.slice(2) as readonly number[];
  const spatial = sizes.map((_, axis) => axis + 2);
  const swap = [1, 0, ...spatial];
  const perGroup = channels / group;
  const images =
    group === 1
      ? transpose(x, swap)
      : reshape(
          transpose(reshape(x, [batch, group, perGroup, ...sizes]), [2, 1, 0, ...spatial.map((axis) => axis + 1)]),
          [perGroup, group * batch, ...sizes],
        );
  const { kernel, strides, dilations, before } = geometry;
  const exchanged = { kernel: counts, strides: dilations, dilations: strides, before };
  return transpose(convolveTo(images, transpose(dy, swap), sizes, kernel, exchanged, group), swap);
}

/** Sum over all axes but the channels'. */
function channelSums(dy: Value): Value {
  return reduceSum(
    dy,
    dy.shape.flatMap((_, axis) => (axis === 1 ? [] : [axis])),
    false,
  );
}

const spatialSizes = (call: GradientCall, value: Value): readonly number[] => concreteShape(call, value).slice(2);

/** Axes of the window of `x` as [places, kernel]: windows that neither overlap nor leave gaps, cut to whole ones. */
function tiles({ kernel, strides, dilations, before }: Geometry, sizes: readonly number[], out: readonly number[]) {
  const plain = kernel.every(
    (length, axis) =>
      length === strides[axis] &&
      (dilations[axis] === 1 || length === 1) &&
      before[axis] === 0 &&
      out[axis] * length <= sizes[axis],
  );
  if (!plain) return undefined;
  return {
    whole: out.map((count, axis) => count * kernel[axis]),
    split: out.flatMap((count, axis) => [count, kernel[axis]]),
    ones: out.flatMap((count) => [count, 1]),
    kernelAxes: out.map((_, axis) => 2 * axis + 3),
  };
}

/** Taps of a window counted down from their number to 1: the largest of several is the first in scan order. */
function scanOrder(kernel: readonly number[], shape: readonly number[], x: Value): Tensor {
  const count = elementCount(kernel);
  return tensorOf(
    Float64Array.from({ length: count }, (_, tap) => count - tap),
    shape,
    x.dtype,
  );
}

/** The gradient goes to the first largest element of each window. */
const maxPool: GradientRule = unary(({ x, y, dy, call }) => {
  const shape = concreteShape(call, x);
  const [sizes, out] = [shape.slice(2), spatialSizes(call, y)];
  const geometry = geometryOf(windowOf(call, intsOf(call, "kernel_shape") ?? []), sizes, out);
  const [outer, { kernel }] = [shape.slice(0, 2), geometry];
  const tiled = tiles(geometry, sizes, out);
  if (tiled !== undefined && sizes.length === 2) {
    const dx = throughTiledMaxPool(cropTo(x, sizes, tiled.whole), y, dy, kernel);
    return fit(dx, [...outer, ...tiled.whole], [0, 0, 0, 0], shape);
  }
  if (tiled !== undefined) {
    const { whole, split, ones, kernelAxes } = tiled;
    const cells = reshape(cropTo(x, sizes, whole), [...outer, ...split]);
    const [best, given] = [reshape(y, [...outer, ...ones]), reshape(dy, [...outer, ...ones])];
    const order = scanOrder(kernel, [1, 1, ...kernel.flatMap((length) => [1, length])], x);
    const rank = where(equal(cells, best), order, 0);
    const first = equal(rank, reduceMax(rank, kernelAxes));
    const dx = reshape(where(first, given, 0), [...outer, ...whole]);
    return fit(dx, [...outer, ...whole], [0, 0, ...sizes.map(() => 0)], shape);
  }
  // Overlapping windows: every tap as a channel [batch · channels, taps, …], then spread by one-hot kernels.
  const planes = outer[0] * outer[1];
  const count = elementCount(kernel);
  const cells = tapChannels(reshape(x, [planes, 1, ...sizes]), sizes, out, geometry);
  const [best, given] = [reshape(y, [planes, 1, ...out]), reshape(dy, [planes, 1, ...out])];
  const order = scanOrder(kernel, [1, count, ...out.map(() => 1)], x);
  const rank = where(equal(cells, best), order, 0);
  const first = equal(rank, reduceMax(rank, [1]));
  const onehot = new Float64Array(count * count);
  for (let tap = 0; tap < count; tap++) onehot[tap * count + tap] = 1;
  const weight = tensorOf(onehot, [count, 1, ...kernel], x.dtype);
  return reshape(spreadTo(where(first, given, 0), weight, out, sizes, geometry, 1), shape);
});

/**
 * The same for windows of an image that lie side by side. Each window's value is laid over its cells by a nearest Resize,
 * so that all else is between tensors of one shape: broadcasting along axes of 2 or 3 cells is ten times slower.
 */
function throughTiledMaxPool(x: Value, y: Value, dy: Value, kernel: readonly number[]): Value {
  const [height, width] = (x.shape as readonly number[]).slice(2);
  const overCells = (value: Value) =>
    resize(value, {
      scales: tensorOf(Float64Array.of(1, 1, ...kernel), [4], "float32"),
      coordinates: "asymmetric",
      nearest: "floor",
    });
  const order = Float64Array.from({ length: height * width }, (_, cell) => {
    const [row, column] = [Math.floor(cell / width) % kernel[0], (cell % width) % kernel[1]];
    return kernel[0] * kernel[1] - row * kernel[1] - column; // the first cell ranks highest, the last 1
  });
  const largest = cast(equal(x, overCells(y)), x.dtype);
  const rank = mul(largest, tensorOf(order, [height, width], x.dtype));
  const first = equal(rank, overCells(poolLargest(rank, kernel, { strides: kernel })));
  return mul(cast(first, x.dtype), overCells(dy));
}

/** The whole windows of x. */
function cropTo(x: Value, sizes: readonly number[], whole: readonly number[]): Value {
  const axes = whole.flatMap((size, axis) => (size < sizes[axis] ? [axis] : []));
  if (axes.length === 0) return x;
  return slice(x, { starts: axes.map(() => 0), ends: axes.map((axis) => whole[axis]), axes: axes.map((a) => a + 2) });
}

/** x [planes, 1, …] seen through each tap of a window: [planes, taps, places …]; below every float outside. */
function tapChannels(
  x: Value,
  sizes: readonly number[],
  out: readonly number[],
  { kernel, strides, dilations, before }: Geometry,
): Value {
  const after = out.map((count, axis) => {
    const reach = (count - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1;
    return Math.max(0, reach - before[axis] - sizes[axis]);
  });
  const padded = [...before, ...after].some((each) => each > 0)
    ? pad(x, [0, 0, ...before, 0, 0, ...after], { value: Number.NEGATIVE_INFINITY })
    : x;
  const axes = out.map((_, axis) => axis + 2);
  const taps = Array.from({ length: elementCount(kernel) }, (_, tap) => {
    let rest = tap;
    const starts = new Array<number>(kernel.length);
    for (let axis = kernel.length - 1; axis >= 0; axis--) {
      starts[axis] = (rest % kernel[axis]) * dilations[axis];
      rest = Math.floor(rest / kernel[axis]);
    }
    const ends = starts.map((start, axis) => start + (out[axis] - 1) * strides[axis] + 1);
    return slice(padded, { starts, ends, axes, steps: strides });
  });
  return concat(taps, 1);
}

/** Cells that each window of an AveragePool divides by. */
function windowCounts(call: GradientCall, window: Window, sizes: readonly number[], out: readonly number[]): number[] {
  const [x, y] = [
    [1, 1, ...sizes],
    [1, 1, ...out],
  ];
  if (intOf(call, "count_include_pad", 0) === 1) return paddedCounts(x, y, window);
  const counts = new Array<number>(elementCount(out)).fill(0);
  slide(x, y, window, (to) => counts[to]++);
  return counts;
}

/** Every cell of a window gets its share. */
const averagePool: GradientRule = unary(({ x, y, dy, call }) => {
  const shape = concreteShape(call, x);
  const [sizes, out, outer] = [shape.slice(2), spatialSizes(call, y), shape.slice(0, 2)];
  const window = windowOf(call, intsOf(call, "kernel_shape") ?? []);
  const geometry = geometryOf(window, sizes, out);
  const counts = windowCounts(call, window, sizes, out);
  const even = counts.every((count) => count === counts[0]);
  const share = even
    ? scaled(dy, 1 / counts[0])
    : times(
        dy,
        tensorOf(
          Float64Array.from(counts, (count) => 1 / count),
          out,
          x.dtype,
        ),
      );
  const tiled = even ? tiles(geometry, sizes, out) : undefined;
  if (tiled !== undefined) {
    const wide = expand(reshape(share, [...outer, ...tiled.ones]), [...outer, ...tiled.split]);
    const dx = reshape(wide, [...outer, ...tiled.whole]);
    return fit(dx, [...outer, ...tiled.whole], [0, 0, ...sizes.map(() => 0)], shape);
  }
  const planes = outer[0] * outer[1];
  const ones = filled(1, [1, 1, ...window.kernel], x);
  return reshape(spreadTo(reshape(share, [planes, 1, ...out]), ones, out, sizes, geometry, 1), shape);
});

/** Convolution, pooling, resizing. */
export const convolutionGradients = /* @__PURE__ */ defineGradients({
  Conv(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [x, weight] = [operand(call, 0), operand(call, 1)];
    const [sizes, kernel] = [spatialSizes(call, x), spatialSizes(call, weight)];
    const out = spatialSizes(call, call.outputs[0]);
    const group = intOf(call, "group", 1);
    const geometry = geometryOf(windowOf(call, kernel), sizes, out);
    return [
      call.wants[0] ? spreadTo(dy, weight, out, sizes, geometry, group) : undefined,
      call.wants[1] ? weightGradient(x, dy, geometry, group) : undefined,
      call.wants[2] ? channelSums(dy) : undefined,
    ];
  },
  ConvTranspose(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [x, weight] = [operand(call, 0), operand(call, 1)];
    const shapes = [x, weight, call.outputs[0]].map((value) => concreteShape(call, value));
    const window = transposedWindow(call, shapes[0], shapes[1], shapes[2]);
    const [counts, out] = [shapes[0].slice(2), shapes[2].slice(2)];
    const geometry = { ...window, before: (window.pads as readonly number[]).slice(0, counts.length) };
    const group = intOf(call, "group", 1);
    return [
      call.wants[0] ? convolveTo(dy, weight, out, counts, geometry, group) : undefined,
      call.wants[1] ? weightGradient(dy, x, geometry, group) : undefined,
      call.wants[2] ? channelSums(dy) : undefined,
    ];
  },
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: unary(({ x, dy, call }) => spread(scaled(dy, 1 / elementCount(spatialSizes(call, x))), x)),
  /** As MaxPool: the first largest. */
  GlobalMaxPool: unary(({ x, y, dy, call }) => {
    const shape = concreteShape(call, x);
    const sizes = shape.slice(2);
    const axes = sizes.map((_, axis) => axis + 2);
    const rank = where(equal(x, y), scanOrder(sizes, [1, 1, ...sizes], x), 0);
    return where(equal(rank, reduceMax(rank, axes)), dy, 0);
  }),
  Resize: throughParts(resizeByParts),
});

import { slice, type Value } from "@loomweight/graph";
import { type AxisRange, shapeMismatch, slice as sliceTensor, type Tensor } from "@loomweight/tensor";
import { rangeOf } from "../space/axis.ts";
import type { Architecture } from "../space/choice.ts";
import { chosenShape, largestShape, type ParameterSpec } from "../space/space.ts";

/** Entries of each axis that one network takes of the largest. */
export function chosenRanges(spec: ParameterSpec, architecture: Architecture): { start: number; end: number }[] {
  return chosenShape(spec, architecture).map((size, axis) => rangeOf(spec.axes[axis], size));
}

/** A network's part of a tensor of the largest: a view of the same memory. Throws `SHAPE_MISMATCH`. */
export function sliceWeight(weight: Tensor, spec: ParameterSpec, architecture: Architecture, name?: string): Tensor {
  checkLargest(weight, spec, name);
  const ranges: AxisRange[] = chosenRanges(spec, architecture);
  return sliceTensor(weight, ranges);
}

/**
 * The same of a value of a graph. A value that already has the network's own shape (an extracted weight) is taken as
 * it is. Throws `SHAPE_MISMATCH`.
 */
export function sliceValue(weight: Value, spec: ParameterSpec, architecture: Architecture, name?: string): Value {
  if (`${weight.shape}` === `${chosenShape(spec, architecture)}`) return weight;
  checkLargest(weight, spec, name);
  const ranges = chosenRanges(spec, architecture);
  const axes = ranges.flatMap(({ start, end }, axis) => (end - start < Number(weight.shape[axis]) ? [axis] : []));
  return slice(weight, {
    starts: axes.map((axis) => ranges[axis].start),
    ends: axes.map((axis) => ranges[axis].end),
    axes,
  });
}

function checkLargest(weight: { readonly shape: readonly (number | string)[] }, spec: ParameterSpec, name?: string) {
  const shape = largestShape(spec);
  if (`${weight.shape}` === `${shape}`) return;
  throw shapeMismatch({
    where: "slice",
    tensor: name,
    expected: { from: "the space", shape },
    got: { from: "the weight", shape: weight.shape },
    fix: "Slices are taken from the largest network's weights.",
  });
}

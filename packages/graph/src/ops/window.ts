import { elementCount, LoomweightError } from "@loomweight/tensor";
import { intOf, intsOf, textOf } from "../attributes.ts";
import { addDims, divideDims, unknownDim } from "../dims.ts";
import type { OpCall } from "../op.ts";
import type { Dim } from "../value.ts";
import { badShape } from "./same-dtype.ts";

/** Where the windows of a convolution or pool lie. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Before each axis, then after each; undefined: SAME, which depends on the size. */
  readonly pads: readonly number[] | "SAME_UPPER" | "SAME_LOWER";
  readonly ceil: boolean;
}

/** The window that attributes describe; throws `SHAPE_MISMATCH`. */
export function windowOf(call: Pick<OpCall, "op" | "name" | "attributes">, kernel: readonly number[]): Window {
  const rank = kernel.length;
  const list = (name: string, length: number, otherwise: number) => {
    const given = intsOf(call, name) ?? new Array<number>(length).fill(otherwise);
    if (given.length !== length) throw badShape(call, `${name} [${given}] does not fit ${rank} spatial axes`);
    return given;
  };
  const auto = textOf(call, "auto_pad", "NOTSET");
  const same = auto === "SAME_UPPER" || auto === "SAME_LOWER";
  const strides = list("strides", rank, 1);
  const dilations = list("dilations", rank, 1);
  if ([...strides, ...dilations, ...kernel].some((each) => each < 1)) {
    throw badShape(call, "kernel sizes, strides and dilations must be at least 1");
  }
  return {
    kernel,
    strides,
    dilations,
    pads: same ? auto : auto === "VALID" ? new Array<number>(2 * rank).fill(0) : list("pads", 2 * rank, 0),
    ceil: intOf(call, "ceil_mode", 0) === 1,
  };
}

/** Size after sliding a window along an axis. */
export function slidSize(size: Dim, window: Window, axis: number): Dim {
  const { kernel, strides, dilations, pads, ceil } = window;
  const reach = (kernel[axis] - 1) * dilations[axis] + 1;
  if (typeof pads === "string") return divideDims(addDims(size, strides[axis] - 1), strides[axis]);
  const room = addDims(size, pads[axis] + pads[axis + kernel.length] - reach);
  if (typeof room !== "number") return ceil ? unknownDim : addDims(divideDims(room, strides[axis]), 1);
  if (!ceil) return Math.max(0, Math.floor(room / strides[axis]) + 1);
  const steps = Math.ceil(room / strides[axis]);
  // A window that would begin in the padding after the end is dropped.
  const begins = steps * strides[axis] - pads[axis];
  return typeof size === "number" && begins >= size ? steps : steps + 1;
}

/** Padding before each axis. */
export function padBefore(window: Window, sizes: readonly number[], out: readonly number[]): number[] {
  const { kernel, strides, dilations, pads } = window;
  return kernel.map((length, axis) => {
    if (typeof pads !== "string") return pads[axis];
    const total = Math.max(0, (out[axis] - 1) * strides[axis] + (length - 1) * dilations[axis] + 1 - sizes[axis]);
    return pads === "SAME_UPPER" ? Math.floor(total / 2) : Math.ceil(total / 2);
  });
}

/** Steps that constants are worth. */
const mostSteps = 2 ** 31;

/** Visits each window: `visit(place of the result, places of x inside it, cells of the window inside x or its padding)`. */
export function slide(
  shape: readonly number[],
  out: readonly number[],
  window: Window,
  visit: (to: number, at: number, tap: number) => void,
): void {
  const [sizes, results] = [shape.slice(2), out.slice(2)];
  const before = padBefore(window, sizes, results);
  const planes = shape[0] * shape[1];
  const [plane, result, taps] = [elementCount(sizes), elementCount(results), elementCount(window.kernel)];
  if (planes * result * taps > mostSteps) {
    throw new LoomweightError({
      code: "TOO_LARGE",
      problem: `windows of [${window.kernel}] over [${shape}] are too many to compute here`,
      fix: "Run it through a graph instead.",
    });
  }
  for (let to = 0; to < result; to++) {
    for (let tap = 0; tap < taps; tap++) {
      let [restTo, restTap, at, step, inside] = [to, tap, 0, 1, true];
      for (let axis = sizes.length - 1; axis >= 0; axis--) {
        const begin = (restTo % results[axis]) * window.strides[axis] - before[axis];
        const place = begin + (restTap % window.kernel[axis]) * window.dilations[axis];
        restTo = Math.floor(restTo / results[axis]);
        restTap = Math.floor(restTap / window.kernel[axis]);
        inside &&= place >= 0 && place < sizes[axis];
        at += place * step;
        step *= sizes[axis];
      }
      if (!inside) continue;
      for (let p = 0; p < planes; p++) visit(p * result + to, p * plane + at, tap);
    }
  }
}

/** Cells of each window that lie inside x or its padding: ceil mode may reach beyond both. */
export function paddedCounts(shape: readonly number[], out: readonly number[], window: Window): number[] {
  const [sizes, results] = [shape.slice(2), out.slice(2)];
  const { kernel, strides, dilations, pads } = window;
  const before = padBefore(window, sizes, results);
  return Array.from({ length: elementCount(results) }, (_, to) => {
    let [rest, count] = [to, 1];
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      const begin = (rest % results[axis]) * strides[axis] - before[axis];
      rest = Math.floor(rest / results[axis]);
      const end =
        sizes[axis] + (typeof pads === "string" ? kernel[axis] * dilations[axis] : pads[axis + kernel.length]);
      count *= Math.min(kernel[axis], Math.ceil((end - begin) / dilations[axis]));
    }
    return count;
  });
}

/** The window of a transposed convolution with its padding as numbers, whatever gave it: pads, auto_pad or output_shape. */
export function transposedWindow(
  call: Pick<OpCall, "op" | "name" | "attributes">,
  x: readonly number[],
  weight: readonly number[],
  out: readonly number[],
): Window {
  const window = windowOf(call, weight.slice(2));
  const { kernel, strides, dilations, pads } = window;
  const extra = intsOf(call, "output_padding") ?? kernel.map(() => 0);
  if (typeof pads !== "string" && intsOf(call, "output_shape") === undefined) return window;
  const upper = textOf(call, "auto_pad", "NOTSET") === "SAME_UPPER";
  const totals = kernel.map((length, axis) => {
    const reach = (length - 1) * dilations[axis] + 1;
    return Math.max(0, (x[axis + 2] - 1) * strides[axis] + extra[axis] + reach - out[axis + 2]);
  });
  const before = totals.map((total) => (upper ? Math.floor(total / 2) : Math.ceil(total / 2)));
  return { ...window, pads: [...before, ...totals.map((total, axis) => total - before[axis])] };
}

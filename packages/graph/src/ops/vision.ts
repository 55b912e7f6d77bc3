import { int, intOf, ints, intsOf, textOf } from "../attributes.ts";
import { addDims, divideDims, multiplyDims, normalizeAxis, productOf, subtractDims, unknownDim } from "../dims.ts";
import { elementsOf } from "../evaluate/numbers.ts";
import { defineOps, knownElements, type OpCall, type OpRule } from "../op.ts";
import type { Dim } from "../value.ts";
import { convolutionOps } from "./convolution.ts";
import { badShape, inputOf, requireFloat } from "./same-dtype.ts";

/** Images in [batch, channels, height, width], regions in [number, 4]. */
function regions(
  sizes: (call: OpCall) => readonly [Dim, Dim],
  inputs: OpRule["inputs"],
  samples: OpRule["samples"],
): OpRule {
  return {
    inputs,
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      if (shape.length !== 4) throw badShape(call, `[${shape}] is no batch of images`);
      return [{ dtype, shape: [inputOf(call, 1).shape[0], shape[1], ...sizes(call)] }];
    },
    samples,
  };
}

function upsampled(call: OpCall): Dim[] {
  const { shape } = inputOf(call, 0);
  const attribute = call.attributes.scales;
  const scales =
    attribute?.type === "floats" ? attribute.value : call.inputs[1]?.tensor && [...elementsOf(call.inputs[1].tensor)];
  if (scales !== undefined && scales.length !== shape.length)
    throw badShape(call, `${scales.length} scales for [${shape}]`);
  return shape.map((size, axis): Dim => {
    if (scales?.[axis] === 1) return size;
    return scales === undefined || typeof size !== "number" ? unknownDim : Math.floor(size * scales[axis]);
  });
}

/** Ops on images and on what is found in them. */
export const visionOps = /* @__PURE__ */ defineOps({
  LpPool: {
    inputs: [1, 1],
    infer: (call) => convolutionOps.AveragePool.infer({ ...call, outputs: 1 }),
    samples: [{ inputs: [[1, 2, 5, 5]], attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]) } }],
  },
  GlobalLpPool: {
    inputs: [1, 1],
    infer: (call) => convolutionOps.GlobalAveragePool.infer(call),
    samples: [{ inputs: [[2, 3, 4, 5]] }],
  },
  MaxUnpool: {
    inputs: [2, 3],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const given = call.inputs[2];
      if (given !== undefined) {
        const sizes = knownElements(given);
        return [{ dtype, shape: sizes ?? shape.map(() => unknownDim) }];
      }
      const kernel = intsOf(call, "kernel_shape") ?? [];
      const rank = shape.length - 2;
      if (kernel.length !== rank) throw badShape(call, `kernel_shape does not fit x [${shape}]`);
      const strides = intsOf(call, "strides") ?? kernel.map(() => 1);
      const pads = intsOf(call, "pads") ?? new Array<number>(2 * rank).fill(0);
      const spatial = shape.slice(2).map((size, axis): Dim => {
        const room = multiplyDims(subtractDims(size, 1), strides[axis]);
        return addDims(room, kernel[axis] - pads[axis] - pads[axis + rank]);
      });
      return [{ dtype, shape: [...shape.slice(0, 2), ...spatial] }];
    },
    samples: [
      {
        inputs: [[1, 1, 2, 2], { shape: [1, 1, 2, 2], dtype: "int64", values: [5, 7, 13, 15] }],
        attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]) },
        constants: [],
      },
    ],
  },
  MaxRoiPool: regions(
    (call) => {
      const sizes = intsOf(call, "pooled_shape") ?? [];
      if (sizes.length !== 2) throw badShape(call, "pooled_shape must have two sizes");
      return [sizes[0], sizes[1]];
    },
    [2, 2],
    [
      {
        inputs: [[1, 2, 4, 4], { shape: [1, 5], values: [0, 0, 0, 3, 3] }],
        attributes: { pooled_shape: ints([2, 2]) },
      },
    ],
  ),
  RoiAlign: regions(
    (call) => [intOf(call, "output_height", 1), intOf(call, "output_width", 1)],
    [3, 3],
    [
      {
        inputs: [[1, 2, 4, 4], { shape: [1, 4], values: [0, 0, 3, 3] }, { shape: [1], dtype: "int64", values: [0] }],
        attributes: { output_height: int(2), output_width: int(3), sampling_ratio: int(2) },
        constants: [],
      },
    ],
  ),
  DeformConv: {
    inputs: [3, 5],
    infer(call) {
      const [x, weight, offset] = [inputOf(call, 0), inputOf(call, 1), inputOf(call, 2)];
      if (x.shape.length < 3 || weight.shape.length !== x.shape.length || offset.shape.length !== x.shape.length) {
        throw badShape(call, `x [${x.shape}], weight [${weight.shape}] and offset [${offset.shape}] do not fit`);
      }
      return [{ dtype: x.dtype, shape: [x.shape[0], weight.shape[0], ...offset.shape.slice(2)] }];
    },
    samples: [
      {
        inputs: [
          [1, 1, 3, 3],
          [1, 1, 2, 2],
          [1, 8, 2, 2],
        ],
        attributes: { kernel_shape: ints([2, 2]) },
      },
    ],
  },
  GridSample: {
    inputs: [2, 2],
    infer(call) {
      const [x, grid] = [inputOf(call, 0), inputOf(call, 1)];
      if (x.shape.length < 3 || grid.shape.length !== x.shape.length) {
        throw badShape(call, `x [${x.shape}] and grid [${grid.shape}] do not fit`);
      }
      return [{ dtype: x.dtype, shape: [...x.shape.slice(0, 2), ...grid.shape.slice(1, -1)] }];
    },
    samples: [{ inputs: [[1, 2, 3, 3], { shape: [1, 2, 4, 2], low: -1, high: 1 }] }],
  },
  AffineGrid: {
    inputs: [2, 2],
    infer(call) {
      const { dtype } = inputOf(call, 0);
      const size = inputOf(call, 1);
      const sizes = knownElements(size);
      const rank = sizes?.length ?? size.shape[0];
      if (rank !== 4 && rank !== 5) throw badShape(call, "the size must have four or five elements");
      const spatial = sizes?.slice(2) ?? new Array<Dim>(rank - 2).fill(unknownDim);
      return [{ dtype, shape: [sizes?.[0] ?? inputOf(call, 0).shape[0], ...spatial, rank - 2] }];
    },
    samples: [{ inputs: [[1, 2, 3], { shape: [4], dtype: "int64", values: [1, 1, 2, 3] }] }],
  },
  Col2Im: {
    inputs: [3, 3],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const [image, block] = [inputOf(call, 1), inputOf(call, 2)];
      const sizes = knownElements(image);
      const rank = sizes?.length ?? image.shape[0];
      if (typeof rank !== "number" || rank > 16) throw badShape(call, "the number of spatial axes is not known");
      const cells = knownElements(block);
      const channels = cells === undefined ? unknownDim : divideDims(shape[1], productOf(cells));
      return [{ dtype, shape: [shape[0], channels, ...(sizes ?? new Array<Dim>(rank).fill(unknownDim))] }];
    },
    samples: [
      {
        inputs: [
          [1, 5, 5],
          { shape: [2], dtype: "int64", values: [5, 5] },
          { shape: [2], dtype: "int64", values: [1, 5] },
        ],
      },
    ],
  },
  CenterCropPad: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const sizes = knownElements(inputOf(call, 1));
      const axes = intsOf(call, "axes")?.map((axis) => normalizeAxis(axis, shape.length, call.op));
      const out = [...shape];
      for (const [i, axis] of (axes ?? shape.map((_, axis) => axis)).entries()) out[axis] = sizes?.[i] ?? unknownDim;
      return [{ dtype, shape: out }];
    },
    samples: [{ inputs: [[4, 5], { shape: [2], dtype: "int64", values: [2, 7] }] }],
  },
  NonMaxSuppression: {
    inputs: [2, 5],
    infer: () => [{ dtype: "int64", shape: [unknownDim, 3] }],
    samples: [],
  },
  ImageDecoder: {
    inputs: [1, 1],
    infer: (call) => [
      { dtype: "uint8", shape: [unknownDim, unknownDim, textOf(call, "pixel_format", "RGB") === "Grayscale" ? 1 : 3] },
    ],
    samples: [],
  },
  /** The name of Resize until opset 10. */
  Upsample: {
    inputs: [1, 2],
    infer: (call) => [{ dtype: inputOf(call, 0).dtype, shape: upsampled(call) }],
    samples: [],
  },
});

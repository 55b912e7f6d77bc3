import type { Tensor } from "@loomweight/tensor";
import { int, intOf, text, textOf } from "../attributes.ts";
import { divideExactly, multiplyDims, unknownDim } from "../dims.ts";
import { applyOne, defineOps, type OpCall, ruleOf } from "../op.ts";
import type { Dim, Value } from "../value.ts";
import type { DecomposedCall, Decomposition } from "./decompose.ts";
import { badShape, inputOf } from "./same-dtype.ts";
import { reshape, transpose } from "./shape.ts";

/** Blocks of channels laid out as pixels: [batch, c · k², h, w] → [batch, c, h · k, w · k]. */
export const depthToSpaceByParts: Decomposition = (call) => {
  const [x, k, [batch, channels, height, width]] = blocks(call);
  const depth = channels / (k * k);
  const columnsFirst = textOf(call, "mode", "DCR") === "CRD";
  const apart = columnsFirst
    ? transpose(reshape(x, [batch, depth, k, k, height, width]), [0, 1, 4, 2, 5, 3])
    : transpose(reshape(x, [batch, k, k, depth, height, width]), [0, 3, 4, 1, 5, 2]);
  return [reshape(apart, [batch, depth, height * k, width * k])];
};

/** The inverse, in DCR order. */
export const spaceToDepthByParts: Decomposition = (call) => {
  const [x, k, [batch, channels, height, width]] = blocks(call);
  const apart = transpose(reshape(x, [batch, channels, height / k, k, width / k, k]), [0, 3, 5, 1, 2, 4]);
  return [reshape(apart, [batch, channels * k * k, height / k, width / k])];
};

function blocks(call: DecomposedCall): [Value, number, readonly number[]] {
  const x = call.inputs[0] as Value;
  if (x.shape.some((size) => typeof size !== "number"))
    throw badShape(call, `[${x.shape}] has sizes that are not known`);
  return [x, intOf(call, "blocksize", 1), x.shape as readonly number[]];
}

function blockSize(call: OpCall): number {
  const size = intOf(call, "blocksize", 0);
  if (size < 1) throw badShape(call, `blocksize ${size} must be at least 1`);
  if (inputOf(call, 0).shape.length !== 4)
    throw badShape(call, `[${inputOf(call, 0).shape}] is not [batch, channels, height, width]`);
  return size;
}

function divided(call: OpCall, size: Dim, by: number): Dim {
  const part = divideExactly(size, by);
  if (part === undefined && typeof size === "number") throw badShape(call, `${size} is no multiple of ${by}`);
  return part ?? unknownDim;
}

/** Ops that move blocks between channels and pixels. */
export const rearrangeOps = /* @__PURE__ */ defineOps({
  DepthToSpace: {
    inputs: [1, 1],
    infer(call) {
      const k = blockSize(call);
      const { dtype, shape } = inputOf(call, 0);
      const [batch, channels, height, width] = shape;
      return [
        { dtype, shape: [batch, divided(call, channels, k * k), multiplyDims(height, k), multiplyDims(width, k)] },
      ];
    },
    evaluate: (call) => depthToSpaceByParts(call) as Tensor[],
    samples: [
      { inputs: [[1, 8, 2, 3]], attributes: { blocksize: int(2) } },
      { inputs: [[1, 8, 2, 3]], attributes: { blocksize: int(2), mode: text("CRD") } },
    ],
  },
  /** No WebGPU kernel. */
  SpaceToDepth: {
    inputs: [1, 1],
    infer(call) {
      const k = blockSize(call);
      const { dtype, shape } = inputOf(call, 0);
      const [batch, channels, height, width] = shape;
      return [
        { dtype, shape: [batch, multiplyDims(channels, k * k), divided(call, height, k), divided(call, width, k)] },
      ];
    },
    evaluate: (call) => spaceToDepthByParts(call) as Tensor[],
    samples: [{ inputs: [[1, 2, 4, 6]], attributes: { blocksize: int(2) } }],
  },
});

/** [batch, c · k², h, w] → [batch, c, h · k, w · k] */
export function depthToSpace(x: Value, blockSize: number, mode: "DCR" | "CRD" = "DCR"): Value {
  return applyOne(ruleOf(rearrangeOps, "DepthToSpace"), [x], {
    blocksize: int(blockSize),
    ...(mode === "DCR" ? {} : { mode: text(mode) }),
  });
}

/** [batch, c, h · k, w · k] → [batch, c · k², h, w]. No WebGPU kernel. */
export function spaceToDepth(x: Value, blockSize: number): Value {
  return applyOne(ruleOf(rearrangeOps, "SpaceToDepth"), [x], { blocksize: int(blockSize) });
}

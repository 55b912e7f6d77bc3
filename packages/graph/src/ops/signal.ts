import { int, intOf } from "../attributes.ts";
import { addDims, divideDims, normalizeAxis, subtractDims, unknownDim } from "../dims.ts";
import { dtypeOfOnnx } from "../onnx-dtype.ts";
import { defineOps, knownElements, knownNumbers, type OpCall, type OpRule } from "../op.ts";
import type { Dim } from "../value.ts";
import { badShape, inputOf, requireFloat } from "./same-dtype.ts";

const firstKnown = (call: OpCall, index: number): Dim => knownElements(call.inputs[index])?.[0] ?? unknownDim;

/** dtype of windows and filters: an attribute, default float32. */
function outputDtype(call: OpCall) {
  const given = intOf(call, "output_datatype", 1);
  return dtypeOfOnnx(given, call.name);
}

const windowRule: OpRule = {
  inputs: [1, 1],
  infer: (call) => [{ dtype: outputDtype(call), shape: [firstKnown(call, 0)] }],
  samples: [{ inputs: [{ shape: [], dtype: "int64", values: [8] }], constants: [0] }],
};

const half = (size: Dim): Dim => addDims(divideDims(size, 2), 1);

/** Fourier transforms, windows and filters. */
export const signalOps = /* @__PURE__ */ defineOps({
  HannWindow: windowRule,
  HammingWindow: windowRule,
  BlackmanWindow: windowRule,
  MelWeightMatrix: {
    inputs: [5, 5],
    infer: (call) => [{ dtype: outputDtype(call), shape: [half(firstKnown(call, 1)), firstKnown(call, 0)] }],
    samples: [
      {
        inputs: [
          { shape: [], dtype: "int64", values: [8] },
          { shape: [], dtype: "int64", values: [16] },
          { shape: [], dtype: "int64", values: [8192] },
          { shape: [], values: [0] },
          { shape: [], values: [4096] },
        ],
        constants: [0, 1, 2, 3, 4],
      },
    ],
  },
  /** x [batch, …, 1 or 2]: real, or real and imaginary parts in the last axis. */
  DFT: {
    inputs: [1, 3],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      if (shape.length < 2) throw badShape(call, `[${shape}] has no axis to transform`);
      const given =
        call.opset < 20
          ? intOf(call, "axis", 1)
          : call.inputs[2] === undefined
            ? -2
            : knownNumbers(call.inputs[2])?.[0];
      const onesided = intOf(call, "onesided", 0) === 1;
      const inverse = intOf(call, "inverse", 0) === 1;
      const last: Dim = onesided && inverse ? 1 : 2;
      const out = [...shape.slice(0, -1), last];
      if (given === undefined) {
        const open = onesided || call.inputs[1] !== undefined;
        return [{ dtype, shape: open ? out.map((dim, at) => (at < out.length - 1 ? unknownDim : dim)) : out }];
      }
      const axis = normalizeAxis(given, shape.length, call.op);
      const length = call.inputs[1] === undefined ? undefined : firstKnown(call, 1);
      // The inverse of one side gives the whole signal: as long as asked for, else 2 · (n − 1).
      if (onesided && inverse) {
        const whole = shape[axis];
        out[axis] = length ?? (typeof whole === "number" ? 2 * (whole - 1) : unknownDim);
      } else out[axis] = onesided ? half(length ?? shape[axis]) : (length ?? shape[axis]);
      return [{ dtype, shape: out }];
    },
    samples: [
      { inputs: [[1, 8, 1], undefined, { shape: [], dtype: "int64", values: [1] }] },
      { inputs: [[1, 8, 1], undefined, { shape: [], dtype: "int64", values: [1] }], attributes: { onesided: int(1) } },
    ],
  },
  /** signal [batch, length, 1 or 2] → [batch, frames, bins, 2] */
  STFT: {
    inputs: [2, 4],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      const step = firstKnown(call, 1);
      const length = call.inputs[3] === undefined ? (call.inputs[2]?.shape[0] ?? unknownDim) : firstKnown(call, 3);
      const frames =
        step === unknownDim || length === unknownDim
          ? unknownDim
          : addDims(divideDims(subtractDims(shape[1], length), step), 1);
      const bins = intOf(call, "onesided", 1) === 1 ? half(length) : length;
      return [{ dtype, shape: [shape[0], frames, bins, 2] }];
    },
    samples: [
      {
        inputs: [
          [1, 32, 1],
          { shape: [], dtype: "int64", values: [4] },
          undefined,
          { shape: [], dtype: "int64", values: [8] },
        ],
      },
    ],
  },
});

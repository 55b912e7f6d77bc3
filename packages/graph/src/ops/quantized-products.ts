import { defineOps, type OpCall } from "../op.ts";
import { convolutionOps } from "./convolution.ts";
import { matmulOps } from "./matmul.ts";
import { inputOf } from "./same-dtype.ts";

/** Type of the zero point of the result. */
const resultDtype = (call: OpCall, index: number) => inputOf(call, index).dtype;

/** Products of quantized operands, each with scale and zero point, quantized again. */
export const quantizedProductOps = /* @__PURE__ */ defineOps({
  QLinearMatMul: {
    inputs: [8, 8],
    infer(call) {
      const [a, b] = [inputOf(call, 0), inputOf(call, 3)];
      const [product] = matmulOps.MatMul.infer({ ...call, inputs: [a, { dtype: a.dtype, shape: b.shape }] });
      return [{ dtype: resultDtype(call, 7), shape: product.shape }];
    },
    samples: [
      {
        inputs: [
          { shape: [1, 2], dtype: "uint8", values: [10, 20] },
          { shape: [], values: [0.1] },
          { shape: [], dtype: "uint8", values: [3] },
          { shape: [2, 1], dtype: "uint8", values: [4, 5] },
          { shape: [], values: [0.2] },
          { shape: [], dtype: "uint8", values: [1] },
          { shape: [], values: [0.05] },
          { shape: [], dtype: "uint8", values: [0] },
        ],
        constants: [1, 2, 4, 5, 6, 7],
      },
    ],
  },
  QLinearConv: {
    inputs: [8, 9],
    infer(call) {
      const [x, weight] = [inputOf(call, 0), inputOf(call, 3)];
      const [product] = convolutionOps.Conv.infer({ ...call, inputs: [x, { dtype: x.dtype, shape: weight.shape }] });
      return [{ dtype: resultDtype(call, 7), shape: product.shape }];
    },
    samples: [
      {
        inputs: [
          { shape: [1, 1, 2, 2], dtype: "uint8", values: [10, 20, 30, 40] },
          { shape: [], values: [0.1] },
          { shape: [], dtype: "uint8", values: [3] },
          { shape: [1, 1, 1, 1], dtype: "uint8", values: [4] },
          { shape: [1], values: [0.2] },
          { shape: [1], dtype: "uint8", values: [1] },
          { shape: [], values: [0.05] },
          { shape: [], dtype: "uint8", values: [0] },
        ],
        constants: [1, 2, 3, 4, 5, 6, 7],
      },
    ],
  },
});

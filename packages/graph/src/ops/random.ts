import { elementCount, fromData, isFloat, type Tensor } from "@loomweight/tensor";
import { int, intOf, intsOf } from "../attributes.ts";
import { dtypeOfOnnx } from "../onnx-dtype.ts";
import { defineOps, integersOf, type OpCall, type OpRule } from "../op.ts";
import { badShape, dtypeMismatch, inputOf, requireFloat } from "./same-dtype.ts";

const dtypeAttribute = (call: OpCall, otherwise: "float32") => {
  const given = intOf(call, "dtype", 0);
  return given === 0 ? otherwise : dtypeOfOnnx(given, call.name);
};

/** Random numbers of a shape given as an attribute, or of the shape of an input. */
function drawn(like: boolean): OpRule {
  return {
    inputs: like ? [1, 1] : [0, 0],
    infer(call) {
      if (!like) {
        const shape = intsOf(call, "shape");
        if (shape === undefined) throw badShape(call, "has no shape");
        return [{ dtype: dtypeAttribute(call, "float32"), shape }];
      }
      const { dtype, shape } = inputOf(call, 0);
      const given = intOf(call, "dtype", 0);
      return [{ dtype: given === 0 ? dtype : dtypeOfOnnx(given, call.name), shape }];
    },
    samples: [],
  };
}

/**
 * Operators of chance, as they stand in files of other tools; graphs built here draw outside. Dropout counts among them,
 * though it only passes its input on when it does not train.
 */
export const randomOps = /* @__PURE__ */ defineOps({
  RandomNormal: drawn(false),
  RandomUniform: drawn(false),
  RandomNormalLike: drawn(true),
  RandomUniformLike: drawn(true),
  Bernoulli: drawn(true),
  Multinomial: {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      const { shape } = inputOf(call, 0);
      if (shape.length !== 2) throw badShape(call, `[${shape}] is not [batch, classes]`);
      const given = intOf(call, "dtype", 0);
      return [
        {
          dtype: given === 0 ? "int32" : dtypeOfOnnx(given, call.name),
          shape: [shape[0], intOf(call, "sample_size", 1)],
        },
      ];
    },
    samples: [],
  },
  Dropout: {
    inputs: [1, 3],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      if (!isFloat(dtype)) throw dtypeMismatch(call, "a floating-point dtype", dtype);
      // Until opset 9 the mask was of the dtype of the data.
      const mask = { dtype: call.opset < 10 ? dtype : ("bool" as const), shape };
      return [{ dtype, shape }, mask].slice(0, Math.max(1, call.outputs));
    },
    evaluate(call) {
      const [x, , training] = call.inputs as [Tensor, Tensor | undefined, Tensor | undefined];
      if (training !== undefined && integersOf(training)[0] !== 0) return [];
      if (call.opset < 10 || call.outputs < 2) return [x];
      return [x, fromData("bool", new Uint8Array(elementCount(x.shape)).fill(1), x.shape)];
    },
    samples: [{ inputs: [[2, 3]] }, { inputs: [[2, 3]], outputs: 2 }],
  },
  EyeLike: {
    inputs: [1, 1],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      if (shape.length !== 2) throw badShape(call, `[${shape}] is no matrix`);
      const given = intOf(call, "dtype", 0);
      return [{ dtype: given === 0 ? dtype : dtypeOfOnnx(given, call.name), shape }];
    },
    samples: [{ inputs: [[2, 3]] }, { inputs: [[3, 4]], attributes: { k: int(1) } }],
  },
});

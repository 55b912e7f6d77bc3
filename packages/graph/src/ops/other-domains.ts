import type { DType } from "@loomweight/tensor";
import { intOf } from "../attributes.ts";
import { defineOps, type OpCall, type OpRule } from "../op.ts";
import { badShape, inputOf, requireFloat } from "./same-dtype.ts";

/** Classical models: types of what exporters of scikit-learn write most. */
export const machineLearningOps = /* @__PURE__ */ defineOps({
  ArrayFeatureExtractor: {
    inputs: [2, 2],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      const picked = inputOf(call, 1).shape;
      const count = picked[picked.length - 1] ?? 1;
      return [{ dtype, shape: shape.length === 1 ? [1, count] : [...shape.slice(0, -1), count] }];
    },
    samples: [],
  },
  Binarizer: { inputs: [1, 1], infer: sameType, samples: [] },
  Normalizer: { inputs: [1, 1], infer: (call) => [{ dtype: "float32", shape: inputOf(call, 0).shape }], samples: [] },
  Scaler: { inputs: [1, 1], infer: (call) => [{ dtype: "float32", shape: inputOf(call, 0).shape }], samples: [] },
  LabelEncoder: {
    inputs: [1, 1],
    infer(call) {
      const tensor = call.attributes.values_tensor;
      const names: readonly (readonly [string, DType])[] = [
        ["values_strings", "string"],
        ["values_int64s", "int64"],
        ["values_floats", "float32"],
      ];
      const dtype =
        tensor?.type === "tensor"
          ? tensor.value.dtype
          : names.find(([name]) => Object.hasOwn(call.attributes, name))?.[1];
      if (dtype === undefined) throw badShape(call, "has no values");
      return [{ dtype, shape: inputOf(call, 0).shape }];
    },
    samples: [],
  },
  TreeEnsemble: {
    inputs: [1, 1],
    infer(call) {
      requireFloat(call, 0);
      const { dtype, shape } = inputOf(call, 0);
      return [{ dtype, shape: [shape[0], intOf(call, "n_targets", 1)] }];
    },
    samples: [],
  },
});

function sameType(call: OpCall) {
  const { dtype, shape } = inputOf(call, 0);
  return [{ dtype, shape }];
}

/** An optimizer over several tensors: inputs are a rate, a count of steps, then `parts` groups of one kind each. */
function optimizer(parts: number, results: readonly number[]): OpRule {
  return {
    inputs: [2 + parts, Number.POSITIVE_INFINITY],
    infer(call) {
      const count = (call.inputs.length - 2) / parts;
      if (!Number.isInteger(count)) throw badShape(call, `${call.inputs.length - 2} tensors are no groups of ${parts}`);
      return results.flatMap((group) =>
        Array.from({ length: count }, (_, i) => {
          const { dtype, shape } = inputOf(call, 2 + group * count + i);
          return { dtype, shape };
        }),
      );
    },
    samples: [],
  };
}

/** ai.onnx.preview.training: parameters, gradients and states in; parameters and states out. */
export const trainingOps = /* @__PURE__ */ defineOps({
  Adagrad: optimizer(3, [0, 2]),
  Momentum: optimizer(3, [0, 2]),
  Adam: optimizer(4, [0, 2, 3]),
});

/** ai.onnx.preview. */
export const previewOps = /* @__PURE__ */ defineOps({
  FlexAttention: {
    inputs: [3, 3],
    infer(call) {
      const [query, value] = [inputOf(call, 0), inputOf(call, 2)];
      return [{ dtype: query.dtype, shape: [...query.shape.slice(0, -1), value.shape[value.shape.length - 1]] }];
    },
    samples: [],
  },
});

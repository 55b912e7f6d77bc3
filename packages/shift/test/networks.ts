import {
  assemble,
  batchNormalization,
  type GraphValue,
  gemm,
  input,
  layerNormalization,
  lazyTensor,
  type OnnxModel,
  parameter,
  relu,
  type Value,
} from "@loomweight/graph";
import { createRandom, fromFloat64, type Tensor } from "@loomweight/tensor";

type Build = (x: GraphValue, weight: (name: string) => GraphValue) => Value;

/** An ONNX classifier of vectors [batch, width] from named weights. */
export function classifierModel(weights: Readonly<Record<string, Tensor>>, width: number, build: Build): OnnxModel {
  const dtype = Object.values(weights)[0].dtype;
  const x = input("features", dtype, ["batch", width]);
  const logits = build(x, (name) => parameter(name, lazyTensor(weights[name])));
  return assemble({ name: "classifier", inputs: [x], outputs: { logits } });
}

export function batchNormed(x: Value, layer: string, weight: (name: string) => GraphValue): Value {
  const [scale, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map((name) =>
    weight(`${layer}.${name}`),
  );
  return batchNormalization(x, scale, bias, mean, variance);
}

export const linear = (x: Value, layer: string, weight: (name: string) => GraphValue): Value =>
  gemm(x, weight(`${layer}.weight`), weight(`${layer}.bias`), { transB: true });

/** fc1 - norm - ReLU - fc2 with random weights: 4 features, 3 classes. */
export function smallModel(seed: number, norm: "batch" | "layer", dtype: "float32" | "float64" = "float64"): OnnxModel {
  const random = createRandom(seed, "network");
  const draw = (name: string, shape: readonly number[], mean = 0) => {
    const values = new Float64Array(shape.reduce((product, size) => product * size, 1));
    random.child(name).normalsInto(values, { mean, deviation: 0.5 });
    return fromFloat64(values, shape, dtype);
  };
  const weights = {
    "fc1.weight": draw("fc1.weight", [6, 4]),
    "fc1.bias": draw("fc1.bias", [6]),
    "norm.weight": draw("norm.weight", [6], 1),
    "norm.bias": draw("norm.bias", [6]),
    "norm.running_mean": draw("mean", [6]),
    "norm.running_var": draw("variance", [6], 2),
    "fc2.weight": draw("fc2.weight", [3, 6]),
    "fc2.bias": draw("fc2.bias", [3]),
  };
  return classifierModel(weights, 4, (x, weight) => {
    const hidden = linear(x, "fc1", weight);
    const normed =
      norm === "batch"
        ? batchNormed(hidden, "norm", weight)
        : layerNormalization(hidden, weight("norm.weight"), weight("norm.bias"));
    return linear(relu(normed), "fc2", weight);
  });
}

/** [rows, columns] of normal numbers. */
export function normals(seed: number, shape: readonly number[], dtype: "float32" | "float64" = "float64"): Tensor {
  const values = new Float64Array(shape.reduce((product, size) => product * size, 1));
  createRandom(seed, "batch").normalsInto(values);
  return fromFloat64(values, shape, dtype);
}

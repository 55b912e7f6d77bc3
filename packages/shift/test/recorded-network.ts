import {
  assemble,
  batchNormalization,
  conv,
  gemm,
  input,
  lazyTensor,
  type OnnxModel,
  parameter,
  reduceMean,
  relu,
} from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";

/** The network of the recorded cases as an ONNX model: conv - bn - ReLU - conv (stride 2) - bn - ReLU - mean - fc. */
export function recordedNetwork(weights: (name: string) => Tensor): OnnxModel {
  const p = (name: string) => parameter(name, lazyTensor(weights(name)));
  const { dtype, shape } = weights("conv1.weight");
  const x = input("image", dtype, ["batch", shape[1], "height", "width"]);
  const norm = (name: string, value: Parameters<typeof relu>[0]) =>
    batchNormalization(
      value,
      p(`${name}.weight`),
      p(`${name}.bias`),
      p(`${name}.running_mean`),
      p(`${name}.running_var`),
    );
  const first = relu(norm("bn1", conv(x, p("conv1.weight"), undefined, { pads: [1, 1, 1, 1] })));
  const second = relu(norm("bn2", conv(first, p("conv2.weight"), p("conv2.bias"), { strides: [2, 2] })));
  const logits = gemm(reduceMean(second, [2, 3], false), p("fc.weight"), p("fc.bias"), { transB: true });
  return assemble({ name: "recorded", inputs: [x], outputs: { logits } });
}

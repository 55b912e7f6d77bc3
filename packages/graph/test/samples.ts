import { type DType, elementCount, type Tensor } from "@loomweight/tensor";
import { castTensor, numbersTensor, tensorOf } from "../src/evaluate/numbers.ts";
import { input } from "../src/inputs.ts";
import type { NamedRule, Sample, SampleTensor } from "../src/op.ts";
import type { GraphValue, Value } from "../src/value.ts";

/** The tensor a sample describes: its values, or a fixed pattern between its bounds. */
export function sampleTensor(sample: SampleTensor, seed: number): Tensor {
  const facts = Array.isArray(sample)
    ? { shape: sample as readonly number[] }
    : (sample as Exclude<SampleTensor, readonly number[]>);
  const { shape, dtype = "float32", values, low = -2, high = 2 } = facts as Exclude<SampleTensor, readonly number[]>;
  const count = elementCount(shape);
  if (values === undefined) {
    const pattern = Float64Array.from({ length: count }, (_, i) => {
      const phase = Math.abs(Math.sin(12.9898 * (i + 1) + 78.233 * (seed + 1))) * 43758.5453;
      return low + (high - low) * (phase - Math.floor(phase));
    });
    return tensorOf(pattern, shape, dtype);
  }
  const exact = dtype === "float32" || dtype === "float64";
  if (exact) return tensorOf(Float64Array.from(values), shape, dtype);
  return numbersTensor(values, shape, dtype, "sample");
}

/** Inputs of a sample as tensors. */
export function sampleInputs(sample: Sample): (Tensor | undefined)[] {
  return sample.inputs.map((each, index) => each && sampleTensor(each, index));
}

/** The same inputs as operands of a graph: constants where the sample says so, graph inputs elsewhere. */
export function sampleOperands(
  sample: Sample,
  tensors: readonly (Tensor | undefined)[],
): { operands: (Value | undefined)[]; inputs: GraphValue[]; feeds: Record<string, Tensor> } {
  const constants =
    sample.constants ?? tensors.flatMap((tensor, index) => (index > 0 && tensor?.dtype === "int64" ? [index] : []));
  const feeds: Record<string, Tensor> = {};
  const inputs: GraphValue[] = [];
  const operands = tensors.map((tensor, index) => {
    if (tensor === undefined || constants.includes(index)) return tensor;
    const value = input(`x${index}`, tensor.dtype, tensor.shape);
    feeds[`x${index}`] = tensor;
    inputs.push(value);
    return value;
  });
  return { operands, inputs, feeds };
}

/** Every sample of a table's rows with a name for messages. */
export function samplesOf(rule: NamedRule): { name: string; sample: Sample }[] {
  return rule.samples.map((sample, index) => ({ name: `${rule.domain || "onnx"} ${rule.op} #${index}`, sample }));
}

/** A float tensor in another float dtype. */
export const inDtype = (tensor: Tensor, dtype: DType): Tensor => castTensor(tensor, dtype);

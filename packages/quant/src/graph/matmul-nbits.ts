import { int, type LazyTensor, type OnnxNode } from "@loomweight/graph";
import { type Tensor, toFloat32 } from "@loomweight/tensor";
import type { WeightCoder } from "../algorithms/weight-coder.ts";
import { type BlockQuantized, fitsCoder, quantizeBlocks, quantizeStream, quantizeWithCoder } from "../blocks.ts";
import { dequantizeColumnsInto } from "../dequantize.ts";
import type { BlockBits } from "../options.ts";
import { packedLength } from "../packing.ts";
import { measureColumns } from "../report.ts";
import { weightCodes } from "./code-stream.ts";
import { addParts, type RewriteContext } from "./context.ts";
import { lazyInitializer, makeOnnxNode } from "./edit.ts";
import { rankOf, weightMatrix } from "./matrix.ts";

export interface MatMulNBitsOptions {
  readonly bits: BlockBits;
  readonly blockSize: number;
  readonly symmetric: boolean;
  /** 0 leaves the attribute out. */
  readonly accuracyLevel: number;
  /** Codes weights in place of the kernels. */
  readonly coder?: WeightCoder;
}

/**
 * MatMul(A, W) with a constant W [K, N] as MatMulNBits(A, codes, scales, zero points?); undefined where that cannot
 * be. A weight [1, …, K, N] whose activation has fewer axes is followed by an Unsqueeze.
 */
export function rewriteMatMulNBits(
  context: RewriteContext,
  node: OnnxNode,
  options: MatMulNBitsOptions,
): readonly OnnxNode[] | undefined {
  const matrix = weightMatrix(context.model.graph, node.inputs[1]);
  if (matrix === undefined) return undefined;
  const missing = missingAxes(context, node, matrix.leading);
  if (missing === undefined) return undefined;
  const { bits, blockSize, accuracyLevel } = options;
  const [K, N] = matrix.data.shape;
  const name = node.name === "" ? "" : `${node.name}_Q${bits}`;
  const { tensors, inputScales: scales } = addBlockTensors(context, matrix.name, matrix.data, options);
  const scaled = scales === undefined ? undefined : context.edit.fresh(`${node.outputs[0]}_scaled_input`);
  const before =
    scales === undefined || scaled === undefined
      ? []
      : [
          makeOnnxNode({
            op: "Mul",
            name: name && `${name}_scale`,
            inputs: [node.inputs[0], scales],
            outputs: [scaled],
          }),
        ];
  const quantized = {
    op: "MatMulNBits",
    domain: "com.microsoft",
    name,
    inputs: [scaled ?? node.inputs[0], ...tensors],
    attributes: {
      K: int(K),
      N: int(N),
      ...(accuracyLevel > 0 ? { accuracy_level: int(accuracyLevel) } : {}),
      bits: int(bits),
      block_size: int(blockSize),
    },
  };
  if (missing === 0) return [...before, makeOnnxNode({ ...quantized, outputs: node.outputs })];
  const output = context.edit.fresh(`${node.outputs[0]}_pre_reshape`);
  const axes = context.edit.fresh(`${node.outputs[0]}_axes`);
  context.edit.initializers.set(axes, lazyInitializer(axes, int64Range(missing)));
  const unsqueeze = {
    op: "Unsqueeze",
    name: name && `${name}_unsqueeze`,
    inputs: [output, axes],
    outputs: node.outputs,
  };
  return [...before, makeOnnxNode({ ...quantized, outputs: [output] }), makeOnnxNode(unsqueeze)];
}

/** Leading axes of 1 that the product loses when the weight's are squeezed; undefined where that is not known. */
function missingAxes(context: RewriteContext, node: OnnxNode, leading: number): number | undefined {
  if (leading === 0) return 0;
  const rank = rankOf(context.model.graph, node.inputs[0]);
  return rank === undefined || rank < 2 ? undefined : Math.max(0, leading + 2 - rank);
}

function int64Range(count: number): LazyTensor {
  const data = BigInt64Array.from({ length: count }, (_, i) => BigInt(i));
  const tensor: Tensor = { dtype: "int64", data, shape: [count], stride: [1], offset: 0 };
  return { dtype: "int64", shape: [count], read: async () => tensor };
}

/** Codes, scales and perhaps zero points of a weight [K, N]; made once for each weight and form. Gives their names. */
export function addBlockTensors(
  context: RewriteContext,
  name: string,
  weight: LazyTensor,
  { bits, blockSize, symmetric, coder }: MatMulNBitsOptions,
): { readonly tensors: readonly string[]; readonly inputScales?: string } {
  const [K, N] = weight.shape;
  const blocks = Math.ceil(K / blockSize);
  const zeroPoints = coder?.zeroPoints ?? (symmetric ? "none" : "packed");
  const names = addParts(context, {
    name,
    weight,
    form: `${coder === undefined ? "" : `${coder.algorithm} `}q${bits} block ${blockSize}`,
    specs: {
      [`Q${bits}`]: { dtype: "uint8", shape: [N, blocks, packedLength(blockSize, bits)] },
      scales: { dtype: weight.dtype, shape: [N, blocks] },
      ...(zeroPoints === "packed" && { zero_points: { dtype: "uint8", shape: [N, packedLength(blocks, bits)] } }),
      ...(zeroPoints === "float" && { zero_points: { dtype: weight.dtype, shape: [N, blocks] } }),
      ...(coder?.scalesInputs && { input_scales: { dtype: weight.dtype, shape: [K] } }),
    },
    computeStream(measured) {
      const source = weightCodes(weight);
      if (coder !== undefined || source === undefined || !fitsCoder(K, blockSize)) return undefined;
      const scales = weight.dtype === "float16" ? "float16" : "float32";
      const options = { K, N, bits, blockSize, symmetric, dtype: source.dtype, scales, name, measured } as const;
      const order = source.order === "columns" ? "columns" : "rows";
      return quantizeStream(source.parts(), order, options).then(({ quantized, sqnr, largestError }) => ({
        tensors: tensorsOf(quantized),
        measure: () => ({ sqnr, largestError }),
      }));
    },
    compute(tensor) {
      if (coder === undefined && fitsCoder(K, blockSize)) {
        const measured = context.onTensor !== undefined;
        const coded = quantizeWithCoder(tensor, { bits, blockSize, symmetric, name, measured });
        const { sqnr, largestError } = coded;
        return { tensors: tensorsOf(coded.quantized), measure: () => ({ sqnr, largestError }) };
      }
      const { quantized, inputScales } = coder?.code(tensor, name) ?? {
        quantized: quantizeBlocks(tensor, { bits, blockSize, symmetric }, name),
      };
      const factors = inputScales && toFloat32(inputScales);
      return {
        tensors: { ...tensorsOf(quantized), ...(inputScales && { input_scales: inputScales }) },
        measure: () =>
          measureColumns(tensor, (out, first, count) => {
            dequantizeColumnsInto(out, quantized, first, count);
            if (factors !== undefined) for (let i = 0; i < count * K; i++) out[i] *= factors[i % K];
          }),
      };
    },
  });
  if (!coder?.scalesInputs) return { tensors: names };
  return { tensors: names.slice(0, -1), inputScales: names[names.length - 1] };
}

function tensorsOf({ bits, packed, scales, zeroPoints }: BlockQuantized): Readonly<Record<string, Tensor>> {
  return { [`Q${bits}`]: packed, scales, ...(zeroPoints && { zero_points: zeroPoints }) };
}

import { int, ints, type OnnxNode } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { fitsCoder } from "../blocks.ts";
import {
  dequantizeQdqColumnsInto,
  type QdqBlocks,
  quantizeQdqBlocks,
  quantizeQdqStream,
  quantizeQdqWithCoder,
} from "../qdq-blocks.ts";
import { measureColumns } from "../report.ts";
import { columnCodes } from "./code-stream.ts";
import { addParts, type RewriteContext } from "./context.ts";
import { makeOnnxNode } from "./edit.ts";
import { weightMatrix } from "./matrix.ts";

export interface QdqRewriteOptions {
  readonly blockSize: number;
  readonly symmetric: boolean;
  readonly channelWise: boolean;
}

/**
 * MatMul(A, W) with a constant W [K, N] as MatMul(A, DequantizeLinear(4-bit codes, scales, zero points?)), a Transpose
 * between where the codes are stored transposed; undefined where W is no float matrix.
 */
export function rewriteQdq(
  context: RewriteContext,
  node: OnnxNode,
  { blockSize, symmetric, channelWise }: QdqRewriteOptions,
): readonly OnnxNode[] | undefined {
  const matrix = weightMatrix(context.model.graph, node.inputs[1]);
  if (matrix === undefined || matrix.leading > 0) return undefined;
  const { name, data: weight } = matrix;
  const [K, N] = weight.shape;
  const size = channelWise ? K : blockSize;
  const blocks = Math.ceil(K / size);
  const transposed = channelWise && symmetric;
  const stored = (rows: number): readonly number[] => (transposed ? [N, rows] : [rows, N]);
  const inputs = addParts(context, {
    name,
    weight,
    form: `int4 block ${size}`,
    specs: {
      DQ_Q4: { dtype: symmetric ? "int4" : "uint4", shape: stored(K) },
      DQ_scales: { dtype: weight.dtype, shape: stored(blocks) },
      ...(!symmetric && { DQ_zero_points: { dtype: "uint4", shape: stored(blocks) } }),
    },
    computeStream(measured) {
      const source = columnCodes(weight);
      if (source === undefined || channelWise || !fitsCoder(K, blockSize)) return undefined;
      const float16Scales = weight.dtype === "float16";
      const settings = { K, N, blockSize, symmetric, dtype: source.dtype, float16Scales, name, measured };
      return quantizeQdqStream(source.parts(), settings).then(({ quantized, ...error }) => ({
        tensors: tensorsOf(quantized),
        measure: () => error,
      }));
    },
    compute(tensor) {
      if (!channelWise && fitsCoder(K, blockSize)) {
        const measured = context.onTensor !== undefined;
        const { quantized, ...error } = quantizeQdqWithCoder(tensor, { blockSize, symmetric, name, measured });
        return { tensors: tensorsOf(quantized), measure: () => error };
      }
      const quantized = quantizeQdqBlocks(tensor, { blockSize, symmetric, channelWise }, name);
      return {
        tensors: tensorsOf(quantized),
        measure: () =>
          measureColumns(tensor, (out, first, count) => dequantizeQdqColumnsInto(out, quantized, first, count)),
      };
    },
  });
  const output = context.edit.fresh(`${name}_DQ_Q4_output`);
  const prefix = node.name === "" ? undefined : node.name;
  const nodes = [
    makeOnnxNode({
      op: "DequantizeLinear",
      name: prefix ? `${prefix}_DQ_Q4` : "",
      inputs,
      outputs: [output],
      attributes: { axis: int(transposed ? 1 : 0), block_size: int(size) },
    }),
  ];
  const restored = transposed ? context.edit.fresh(`${output}_transposed`) : output;
  if (transposed) {
    const attributes = { perm: ints([1, 0]) };
    nodes.push(makeOnnxNode({ op: "Transpose", name: "", inputs: [output], outputs: [restored], attributes }));
  }
  const inputsOfProduct = [node.inputs[0], restored];
  const product = { op: "MatMul", name: prefix ? `${prefix}_matmul_Q4` : "", inputs: inputsOfProduct };
  return [...nodes, makeOnnxNode({ ...product, outputs: node.outputs })];
}

function tensorsOf({ data, scales, zeroPoints }: QdqBlocks): Readonly<Record<string, Tensor>> {
  return { DQ_Q4: data, DQ_scales: scales, ...(zeroPoints && { DQ_zero_points: zeroPoints }) };
}

import { int, type OnnxNode } from "@loomweight/graph";
import { float32Values } from "../float32-values.ts";
import { dequantizeGatherBlocks, quantizeGatherBlocks, quantizeGatherStream } from "../gather-blocks.ts";
import { measureValues } from "../report.ts";
import { weightCodes } from "./code-stream.ts";
import { addParts, type RewriteContext } from "./context.ts";
import { makeOnnxNode } from "./edit.ts";

export interface GatherRewriteOptions {
  readonly blockSize: number;
  readonly symmetric: boolean;
  /** Axis of the table that is cut into blocks; negative counts from the end. */
  readonly quantizeAxis: number;
}

/**
 * Gather(table, indices) with a constant float32 table of at least two axes as GatherBlockQuantized; undefined where
 * that cannot be (the gathered axis cannot be the one that is cut into blocks).
 */
export function rewriteGather(
  context: RewriteContext,
  node: OnnxNode,
  { blockSize, symmetric, quantizeAxis }: GatherRewriteOptions,
): readonly OnnxNode[] | undefined {
  const name = node.inputs[0];
  const table = context.model.graph.initializers.get(name);
  if (table === undefined || table.dtype !== "float32" || table.shape.includes(0)) return undefined;
  const rank = table.shape.length;
  const axisAttribute = node.attributes.axis;
  const given = axisAttribute?.type === "int" ? Number(axisAttribute.value) : 0;
  const gatherAxis = given < 0 ? given + rank : given;
  const axis = quantizeAxis < 0 ? quantizeAxis + rank : quantizeAxis;
  if (rank < 2 || gatherAxis === axis || axis < 0 || axis >= rank) return undefined;
  const blocks = table.shape.map((size, at) => (at === axis ? Math.ceil(size / blockSize) : size));
  const inputs = addParts(context, {
    name,
    weight: table.data,
    form: `int4 block ${blockSize} along ${axis}`,
    specs: {
      Q4: { dtype: symmetric ? "int4" : "uint4", shape: table.shape },
      scales: { dtype: "float32", shape: blocks },
      ...(!symmetric && { zero_points: { dtype: "uint4", shape: blocks } }),
    },
    computeStream(measured) {
      const source = weightCodes(table.data);
      if (source === undefined || source.order !== "elements" || axis !== rank - 1) return undefined;
      const settings = { shape: table.shape, blockSize, symmetric, dtype: source.dtype, name, measured };
      return quantizeGatherStream(source.parts(), settings).then(({ quantized, ...error }) => {
        const { data, scales, zeroPoints } = quantized;
        return {
          tensors: { Q4: data, scales, ...(zeroPoints && { zero_points: zeroPoints }) },
          measure: () => error,
        };
      });
    },
    compute(tensor) {
      const quantized = quantizeGatherBlocks(tensor, { axis, blockSize, symmetric }, name);
      const { data, scales, zeroPoints } = quantized;
      return {
        tensors: { Q4: data, scales, ...(zeroPoints && { zero_points: zeroPoints }) },
        measure: () => measureValues(float32Values(tensor), dequantizeGatherBlocks(quantized).data),
      };
    },
  });
  const [codes, ...others] = inputs;
  return [
    makeOnnxNode({
      op: "GatherBlockQuantized",
      domain: "com.microsoft",
      name: node.name === "" ? "" : `${node.name}_Q4`,
      inputs: [codes, node.inputs[1], ...others],
      outputs: node.outputs,
      attributes: {
        block_size: int(blockSize),
        gather_axis: int(gatherAxis),
        quantize_axis: int(axis),
      },
    }),
  ];
}

import { int, type LazyTensor, type OnnxGraph, type OnnxNode } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import type { RewriteContext } from "./context.ts";
import { lazyInitializer, makeOnnxNode } from "./edit.ts";
import { addBlockTensors, type MatMulNBitsOptions } from "./matmul-nbits.ts";
import { weightMatrix } from "./matrix.ts";

/** The MatMul whose weight [width, rows] is the table [rows, width] of a Gather, transposed as it was read from a checkpoint. */
export function tiedProduct(graph: OnnxGraph, gather: OnnxNode): OnnxNode | undefined {
  const table = graph.initializers.get(gather.inputs[0]);
  const axis = gather.attributes.axis;
  if (table?.shape.length !== 2 || (axis?.type === "int" && Number(axis.value) !== 0)) return undefined;
  const [rows, width] = table.shape;
  return graph.nodes.find(({ op, domain, inputs }) => {
    const weight = op === "MatMul" && domain === "" ? graph.initializers.get(inputs[1]) : undefined;
    return (
      weight?.shape.length === 2 &&
      weight.shape[0] === width &&
      weight.shape[1] === rows &&
      weight.dtype === table.dtype &&
      isTransposed(weight.data, table.data)
    );
  });
}

const stepsOf = ({ origin }: LazyTensor) => (origin?.transform ?? "").split(", ").filter((step) => step !== "");

/** Whether two weights come from the same tensor, one transposed and the other not. */
function isTransposed(weight: LazyTensor, table: LazyTensor): boolean {
  const [ours, theirs] = [weight.origin?.tensors ?? [], table.origin?.tensors ?? []];
  if (ours.length !== 1 || theirs.length !== 1 || ours[0] !== theirs[0]) return false;
  const steps = stepsOf(weight);
  const others = steps.filter((step) => step !== "transpose");
  return steps.length === others.length + 1 && `${others}` === `${stepsOf(table)}`;
}

/**
 * Gather(table, ids) as GatherBlockQuantized over the codes of the MatMulNBits that `product` becomes, so that they are stored
 * once: Reshape [rows, blocks, bytes] → [rows, width · bits / 8]. undefined where rows are no whole blocks, or the bits or
 * zero points none that the operator takes, or where the product scales its inputs.
 */
export function rewriteTiedGather(
  context: RewriteContext,
  node: OnnxNode,
  product: OnnxNode,
  options: MatMulNBitsOptions,
): readonly OnnxNode[] | undefined {
  const { bits, blockSize, coder } = options;
  if (coder?.scalesInputs || coder?.zeroPoints === "float") return undefined;
  const matrix = weightMatrix(context.model.graph, product.inputs[1]);
  if (matrix === undefined || (bits !== 4 && bits !== 8)) return undefined;
  const [width, rows] = matrix.data.shape;
  if (width % blockSize !== 0) return undefined;
  const [codes, ...others] = addBlockTensors(context, matrix.name, matrix.data, options).tensors;
  const shape = context.edit.fresh(`${codes}_shape`);
  context.edit.initializers.set(shape, lazyInitializer(shape, rowsOfBytes(rows, (width * bits) / 8)));
  const table = context.edit.fresh(`${codes}_rows`);
  const name = node.name === "" ? "" : `${node.name}_Q${bits}`;
  return [
    makeOnnxNode({ op: "Reshape", name: name && `${name}_rows`, inputs: [codes, shape], outputs: [table] }),
    makeOnnxNode({
      op: "GatherBlockQuantized",
      domain: "com.microsoft",
      name,
      inputs: [table, node.inputs[1], ...others],
      outputs: node.outputs,
      attributes: { bits: int(bits), block_size: int(blockSize), gather_axis: int(0), quantize_axis: int(1) },
    }),
  ];
}

function rowsOfBytes(rows: number, bytes: number): LazyTensor {
  const tensor: Tensor = fromData("int64", BigInt64Array.of(BigInt(rows), BigInt(bytes)), [2]);
  return { dtype: "int64", shape: [2], read: async () => tensor };
}

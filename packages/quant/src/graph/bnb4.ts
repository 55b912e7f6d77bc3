import { int, type OnnxModel } from "@loomweight/graph";
import { type Bnb4Options, quantizeBnb4Stream, quantizeBnb4WithCoder } from "../bnb4.ts";
import type { Bnb4Coder } from "../bnb4-coder.ts";
import type { Bnb4Type } from "../bnb4-levels.ts";
import { checkBlockSize, invalid } from "../options.ts";
import type { OnTensor } from "../report.ts";
import { columnCodes } from "./code-stream.ts";
import { addParts, type RewriteContext } from "./context.ts";
import { finishEdit, makeOnnxNode, startEdit } from "./edit.ts";
import { latestWeight } from "./lazy-parts.ts";
import { weightMatrix } from "./matrix.ts";
import { type Selection, selector } from "./selection.ts";

export interface ModelBnb4Options extends Bnb4Options, Selection {
  readonly onTensor?: OnTensor;
}

/** Numbers of the `quant_type` attribute. */
const quantTypes: Readonly<Record<Bnb4Type, number>> = { fp4: 0, nf4: 1 };

/**
 * Every MatMul with a constant float32 weight [K, N] becomes MatMulBnb4 with tensors `<W>_Bnb4` and `<W>_absmax`.
 * Weights are read and coded one at a time when the model is written.
 * @throws `INVALID_OPTION`; when written `NON_FINITE_WEIGHT` naming the tensor
 */
export function quantizeModelBnb4(model: OnnxModel, options: ModelBnb4Options = {}): OnnxModel {
  const { quantType = "nf4", blockSize = 64, onTensor } = options;
  if (quantType !== "nf4" && quantType !== "fp4") throw invalid("quantizeModelBnb4.quantType", quantType, "nf4 or fp4");
  checkBlockSize(blockSize, "quantizeModelBnb4");
  const selected = selector(options, "quantizeModelBnb4");
  const edit = startEdit(model.graph);
  const context: RewriteContext = { model, edit, latest: latestWeight(), done: new Map(), onTensor };
  for (const node of model.graph.nodes) {
    const matrix =
      node.op === "MatMul" && node.domain === "" && selected(node.name, ...node.inputs)
        ? weightMatrix(model.graph, node.inputs[1])
        : undefined;
    if (matrix === undefined || matrix.leading > 0 || matrix.data.dtype !== "float32") {
      edit.nodes.push(node);
      continue;
    }
    const { name, data: weight } = matrix;
    const [K, N] = weight.shape;
    const inputs = addParts(context, {
      name,
      weight,
      form: `${quantType} block ${blockSize}`,
      specs: {
        Bnb4: { dtype: "uint8", shape: [Math.ceil((K * N) / 2)] },
        absmax: { dtype: "float32", shape: [Math.ceil((K * N) / blockSize)] },
      },
      computeStream(measured) {
        const source = columnCodes(weight);
        if (source === undefined) return undefined;
        const settings = { K, N, quantType, blockSize, dtype: source.dtype, name, measured };
        return quantizeBnb4Stream(source.parts(), settings).then(partsOf);
      },
      compute: (tensor) =>
        partsOf(quantizeBnb4WithCoder(tensor, { quantType, blockSize, name, measured: onTensor !== undefined })),
    });
    edit.nodes.push(
      makeOnnxNode({
        op: "MatMulBnb4",
        domain: "com.microsoft",
        name: node.name === "" ? "" : `${node.name}_Bnb4`,
        inputs: [node.inputs[0], ...inputs],
        outputs: node.outputs,
        attributes: {
          K: int(K),
          N: int(N),
          block_size: int(blockSize),
          quant_type: int(quantTypes[quantType]),
        },
      }),
    );
  }
  return finishEdit(model, edit, context.done.size > 0 ? { "com.microsoft": 1 } : {});
}

function partsOf({ quantized, sqnr, largestError }: ReturnType<Bnb4Coder["finish"]>) {
  return {
    tensors: { Bnb4: quantized.packed, absmax: quantized.absmax },
    measure: () => ({ sqnr, largestError }),
  };
}

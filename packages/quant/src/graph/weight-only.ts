import type { OnnxModel, OnnxNode } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { type WeightAlgorithm, type WeightCoder, weightCoder } from "../algorithms/weight-coder.ts";
import { type BlockBits, type BlockOptions, checkBlockOptions, invalid } from "../options.ts";
import type { OnTensor } from "../report.ts";
import type { RewriteContext } from "./context.ts";
import { finishEdit, startEdit } from "./edit.ts";
import { rewriteGather } from "./gather.ts";
import { latestWeight } from "./lazy-parts.ts";
import { rewriteMatMulNBits } from "./matmul-nbits.ts";
import { type BlockRule, checkRules, type MixedPreset, nodesInEightBits, ruleFor } from "./mixed.ts";
import { rewriteQdq } from "./qdq.ts";
import { type Selection, selector } from "./selection.ts";
import { rewriteTiedGather, tiedProduct } from "./tied-table.ts";

export interface WeightOnlyOptions extends BlockOptions, Selection {
  /**
   * Precision in which MatMulNBits computes: 0 unset (default), 1 float32, 2 float16, 3 bfloat16, 4 int8. At 4 the
   * activations are quantized per block: about 25 times faster on CPUs, 0.4 % of the largest output less exact.
   */
  readonly accuracyLevel?: 0 | 1 | 2 | 3 | 4;
  /**
   * Also code the float32 tables that Gather reads, in 4 bits along axis 1, as GatherBlockQuantized; a table that a head is
   * tied to shares the head's codes ("matMulNBits" only). "tied": such tables only. Default false.
   */
  readonly embeddings?: boolean | "tied";
  /** What MatMul becomes; false leaves products alone (with `embeddings`: tables only). Default true. */
  readonly products?: boolean;
  /** Axis of a table that is cut into blocks; negative counts from the end. Default 1. */
  readonly embeddingAxis?: number;
  /** "matMulNBits" (default), or "qdq": DequantizeLinear and MatMul, standard ONNX of opset 21, 4 bits only. */
  readonly format?: "matMulNBits" | "qdq";
  /** One block a column; "qdq" only. Default false. */
  readonly channelWise?: boolean;
  /** Products coded in 8 bits whatever `bits` is, by names of nodes or weights with `*`; "matMulNBits" only. */
  readonly eightBits?: readonly string[];
  /** Products coded otherwise, by name; they win over `eightBits` and `mixed`. "matMulNBits" only. */
  readonly rules?: readonly BlockRule[];
  /** A choice of products for 8 bits; "matMulNBits" only. Default none. */
  readonly mixed?: MixedPreset;
  /**
   * How weights become codes: onnxruntime's own rule ("default"), "rtn", "k-quant", "hqq", or "awq" and "gptq",
   * which need `hessians`, or "statsq", for weights trained on that grid. Products of 8 bits under "hqq" and "statsq"
   * take the default. "matMulNBits" only.
   */
  readonly algorithm?: WeightAlgorithm;
  /** For "gptq" and "awq": what `collectHessians` gave, by the names of weights. */
  readonly hessians?: ReadonlyMap<string, Tensor>;
  readonly onTensor?: OnTensor;
}

/**
 * Every MatMul with a constant float32 or float16 weight [K, N] becomes MatMulNBits (weights of more axes only where
 * the leading ones are 1). Weights are read and coded one at a time when the model is written.
 *
 * Names are those of onnxruntime's tool: node `<name>_Q4`, tensors `<W>_Q4`, `<W>_scales`, `<W>_zero_points`; with
 * "qdq" `<W>_DQ_Q4`, `<W>_DQ_scales`, `<W>_DQ_zero_points`.
 * Differs: a weight [1, K, N] whose activation has fewer axes is followed by one Unsqueeze, where the tool computes
 * the shape in thirteen nodes; where the activation's axes are not known the MatMul stays.
 * @throws `INVALID_OPTION`; when written `NON_FINITE_WEIGHT` naming the tensor
 */
export function quantizeWeightOnly(model: OnnxModel, options: WeightOnlyOptions = {}): OnnxModel {
  const settings = checkOptions(options);
  const selected = selector(options, "quantizeWeightOnly");
  const inEightBits = selector({ include: options.eightBits ?? [] }, "quantizeWeightOnly.eightBits");
  const edit = startEdit(model.graph);
  const context: RewriteContext = { model, edit, latest: latestWeight(), done: new Map(), onTensor: options.onTensor };
  const { rules = [], mixed } = options;
  checkRules(rules, "quantizeWeightOnly");
  const chosen = mixed === undefined ? undefined : nodesInEightBits(model, mixed, "quantizeWeightOnly");
  const wider = { ...settings, bits: 8 } as const;
  /** undefined: it stays as it is. */
  const ofNode = (node: OnnxNode): Settings | undefined => {
    if (node.op !== "MatMul") return settings;
    const base = chosen?.has(node) || inEightBits(node.name, ...node.inputs) ? wider : settings;
    const rule = ruleFor(rules, node);
    if (rule === undefined) return base;
    const { bits = base.bits, blockSize = base.blockSize, symmetric = base.symmetric } = rule;
    if (bits === "float") return undefined;
    return { ...base, ...checkBlockOptions({ bits, blockSize, symmetric }, "quantizeWeightOnly.rules") };
  };
  /** A table whose head is coded, too. */
  const tiedTable = (node: OnnxNode): readonly OnnxNode[] | undefined => {
    const { embeddings, products, format } = settings;
    if (node.op !== "Gather" || !embeddings || !products || format !== "matMulNBits") return undefined;
    const head = tiedProduct(model.graph, node);
    const how = head !== undefined && selected(head.name, ...head.inputs) ? ofNode(head) : undefined;
    return head && how && rewriteTiedGather(context, node, head, withCoder(how));
  };
  for (const node of model.graph.nodes) {
    const wanted = node.domain === "" && selected(node.name, ...node.inputs);
    const how = wanted ? ofNode(node) : undefined;
    const made = how && (tiedTable(node) ?? rewriteNode(context, node, how));
    edit.nodes.push(...(made ?? [node]));
  }
  const contrib = edit.nodes.some(({ domain }) => domain === "com.microsoft");
  const blockwise = edit.nodes.some(({ op, attributes }) => op === "DequantizeLinear" && attributes.block_size);
  return finishEdit(model, edit, { ...(blockwise && { "": 21 }), ...(contrib && { "com.microsoft": 1 }) });
}

interface Settings {
  readonly bits: BlockBits;
  readonly blockSize: number;
  readonly symmetric: boolean;
  readonly accuracyLevel: number;
  readonly format: "matMulNBits" | "qdq";
  readonly channelWise: boolean;
  readonly embeddings: boolean | "tied";
  readonly products: boolean;
  readonly embeddingAxis: number;
  readonly algorithm: WeightAlgorithm;
  readonly hessians?: ReadonlyMap<string, Tensor>;
}

function checkOptions(options: WeightOnlyOptions): Settings {
  const where = "quantizeWeightOnly";
  const blocks = checkBlockOptions(options, where);
  const { accuracyLevel = 0, format = "matMulNBits", channelWise = false } = options;
  const { embeddings = false, products = true, embeddingAxis = 1 } = options;
  if (![0, 1, 2, 3, 4].includes(accuracyLevel)) throw invalid(`${where}.accuracyLevel`, accuracyLevel, "0 to 4");
  if (format !== "matMulNBits" && format !== "qdq") throw invalid(`${where}.format`, format, "matMulNBits or qdq");
  if (format === "qdq" && blocks.bits !== 4) throw invalid(`${where}.bits`, blocks.bits, "4 with format qdq");
  if (channelWise && format !== "qdq") throw invalid(`${where}.channelWise`, channelWise, "false without format qdq");
  for (const option of ["eightBits", "rules"] as const) {
    if (format === "qdq" && (options[option] ?? []).length > 0) {
      throw invalid(`${where}.${option}`, "a list", "nothing with format qdq");
    }
  }
  if (format === "qdq" && options.mixed !== undefined) {
    throw invalid(`${where}.mixed`, options.mixed, "nothing with format qdq");
  }
  if (typeof embeddings !== "boolean" && embeddings !== "tied") {
    throw invalid(`${where}.embeddings`, embeddings, "true, false or tied");
  }
  if (embeddings === true && blocks.bits !== 4)
    throw invalid(`${where}.embeddings`, embeddings, "false unless bits is 4");
  if (!Number.isInteger(embeddingAxis)) throw invalid(`${where}.embeddingAxis`, embeddingAxis, "a whole number");
  const { algorithm = "default", hessians } = options;
  if (format === "qdq" && algorithm !== "default") {
    throw invalid(`${where}.algorithm`, algorithm, "default with format qdq");
  }
  weightCoder({ ...blocks, algorithm, hessians }, where);
  return {
    ...blocks,
    accuracyLevel,
    format,
    channelWise,
    embeddings,
    products,
    embeddingAxis,
    algorithm,
    ...(hessians && { hessians }),
  };
}

function rewriteNode(context: RewriteContext, node: OnnxNode, settings: Settings): readonly OnnxNode[] | undefined {
  if (node.op === "Gather" && settings.embeddings === true) {
    return rewriteGather(context, node, { ...settings, quantizeAxis: settings.embeddingAxis });
  }
  if (node.op !== "MatMul" || !settings.products) return undefined;
  if (settings.format === "qdq") return rewriteQdq(context, node, settings);
  return rewriteMatMulNBits(context, node, withCoder(settings));
}

function withCoder(settings: Settings): Settings & { readonly coder?: WeightCoder } {
  const algorithm =
    ["hqq", "statsq"].includes(settings.algorithm) && settings.bits === 8 ? "default" : settings.algorithm;
  return { ...settings, coder: weightCoder({ ...settings, algorithm }, "quantizeWeightOnly") };
}

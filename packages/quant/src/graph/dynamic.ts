import { type Initializer, int, type OnnxModel, type OnnxNode } from "@loomweight/graph";
import { fromData, LoomweightError } from "@loomweight/tensor";
import { longestColumn } from "../block-coder.ts";
import { float32Values } from "../float32-values.ts";
import {
  dequantizeInt8,
  type Int8Quantized,
  type Int8Type,
  quantizeInt8,
  quantizeInt8Stream,
  quantizeInt8WithCoder,
} from "../int8.ts";
import { invalid } from "../options.ts";
import { measureValues, type OnTensor } from "../report.ts";
import { weightCodes } from "./code-stream.ts";
import { addParts, type RewriteContext } from "./context.ts";
import { bodies, finishEdit, lazyInitializer, makeOnnxNode, startEdit } from "./edit.ts";
import { splitGemm } from "./gemm.ts";
import { latestWeight } from "./lazy-parts.ts";
import { type Selection, selector } from "./selection.ts";

/** Ops that `quantizeDynamic` knows. */
export const dynamicOps = ["MatMul", "Gemm", "Conv", "Gather"] as const;
export type DynamicOp = (typeof dynamicOps)[number];

export interface DynamicOptions extends Selection {
  /** Codes of weights; default "int8" (symmetric), "uint8" is asymmetric. */
  readonly weightType?: Int8Type;
  /** One scale a column of MatMul and Gemm weights; Conv weights keep one scale. Default false. */
  readonly perChannel?: boolean;
  /** 7-bit weights, for x86 CPUs without VNNI. Default false. */
  readonly reduceRange?: boolean;
  /** Default: int8 true, uint8 false. */
  readonly weightSymmetric?: boolean;
  /** Default: all of `dynamicOps`. */
  readonly ops?: readonly DynamicOp[];
  readonly onTensor?: OnTensor;
}

/**
 * Weights in 8 bits, activations quantized to uint8 while the graph runs:
 *
 *   A ─ DynamicQuantizeLinear ─ MatMulInteger(·, W_quantized) ─ Cast ─ Mul(A_scale · W_scale)
 *
 * MatMul and Gemm (split into MatMul and Add) with a constant float32 weight; Conv as ConvInteger, its bias reshaped to
 * [1, C, 1, …] and added; Gather on a table of asymmetric uint8 codes, dequantized behind it. Weights are read and
 * coded one at a time when the model is written. Node and tensor names are those of onnxruntime's `quantize_dynamic`.
 * Differs: Attention, LSTM and EmbedLayerNormalization stay float; bodies of If and Loop stay float; a per-channel
 * MatMul weight of more than two axes keeps one scale.
 * @throws `INVALID_OPTION`, `UNSUPPORTED_OPSET` below opset 11; when written `NON_FINITE_WEIGHT` naming the tensor
 */
export function quantizeDynamic(model: OnnxModel, options: DynamicOptions = {}): OnnxModel {
  const settings = checkOptions(options);
  const opset = model.opsets[""] ?? 0;
  if (opset < 11) {
    throw new LoomweightError({
      code: "UNSUPPORTED_OPSET",
      problem: "dynamic quantization needs DynamicQuantizeLinear",
      expected: "opset 11 or newer",
      found: `opset ${opset}`,
      fix: "Export the model again with a newer opset.",
    });
  }
  const selected = selector(options, "quantizeDynamic");
  const chosen = (node: OnnxNode) => node.domain === "" && selected(node.name, ...node.inputs);
  const split = settings.ops.has("Gemm") ? splitGemm(model, chosen) : model;
  const context: DynamicContext = {
    model: split,
    edit: startEdit(split.graph),
    latest: latestWeight(),
    done: new Map(),
    onTensor: options.onTensor,
    settings,
    activations: new Map(),
    scaleProducts: new Map(),
    gathered: new Map(),
  };
  // A Gemm that was split is a MatMul now, and quantized with "Gemm" alone.
  const gemms = new Set(model.graph.nodes.filter(({ op }) => op === "Gemm").map(({ name }) => `${name}_MatMul`));
  for (const node of split.graph.nodes) {
    const asked =
      node.op === "MatMul" && split !== model && gemms.has(node.name)
        ? settings.ops.has("Gemm")
        : settings.ops.has(node.op);
    const rewritten = asked && chosen(node) ? rewriteNode(context, node) : false;
    if (!rewritten) {
      restoreInputs(context, node);
      context.edit.nodes.push(node);
    }
  }
  for (const { name } of split.graph.outputs) restore(context, name);
  const nodes = new Set(context.edit.nodes.map(({ op }) => op));
  return finishEdit(split, context.edit, nodes.has("DynamicQuantizeLinear") ? { "com.microsoft": 1 } : {});
}

interface Settings {
  readonly weightType: Int8Type;
  readonly perChannel: boolean;
  readonly reduceRange: boolean;
  readonly weightSymmetric: boolean;
  readonly ops: ReadonlySet<string>;
}

/** A value in 8 bits: names of its codes, scale and zero point. */
interface Quantized {
  readonly codes: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

interface DynamicContext extends RewriteContext {
  readonly settings: Settings;
  /** Activations that have been quantized. */
  readonly activations: Map<string, Quantized>;
  /** Products of two scales by node name. */
  readonly scaleProducts: Map<string, string>;
  /** Outputs of quantized Gathers, and whether their float values exist already. */
  readonly gathered: Map<string, Quantized & { restored: boolean }>;
}

function checkOptions(options: DynamicOptions): Settings {
  const where = "quantizeDynamic";
  const { weightType = "int8", perChannel = false, reduceRange = false, ops = dynamicOps } = options;
  if (weightType !== "int8" && weightType !== "uint8")
    throw invalid(`${where}.weightType`, weightType, "int8 or uint8");
  if (!Array.isArray(ops) || ops.some((op) => !dynamicOps.includes(op))) {
    throw invalid(`${where}.ops`, String(ops), `a list of ${dynamicOps.join(", ")}`);
  }
  const weightSymmetric = options.weightSymmetric ?? weightType === "int8";
  return { weightType, perChannel, reduceRange, weightSymmetric, ops: new Set<string>(ops) };
}

/** Adds what takes the node's place; false where the node has to stay. */
function rewriteNode(context: DynamicContext, node: OnnxNode): boolean {
  const position = node.op === "Gather" ? 0 : 1;
  const weight = context.model.graph.initializers.get(node.inputs[position]);
  if (weight === undefined || weight.dtype !== "float32" || weight.shape.includes(0)) return false;
  if (node.op === "Gather") return rewriteGather(context, node, weight);
  if (weight.shape.length < (node.op === "Conv" ? 3 : 2)) return false;
  if (node.op === "Conv") rewriteConv(context, node, weight);
  else rewriteMatMul(context, node, weight);
  return true;
}

function rewriteMatMul(context: DynamicContext, node: OnnxNode, weight: Initializer): void {
  const { perChannel } = context.settings;
  const axis = perChannel && weight.shape.length === 2 ? 1 : undefined;
  const activation = quantizeActivation(context, node.inputs[0]);
  const quantized = quantizeWeight(context, weight, axis);
  integerProduct(context, node, "MatMulInteger", activation, quantized, node.outputs[0]);
}

function rewriteConv(context: DynamicContext, node: OnnxNode, weight: Initializer): void {
  const activation = quantizeActivation(context, node.inputs[0]);
  const quantized = quantizeWeight(context, weight, undefined);
  const bias = node.inputs[2] ?? "";
  const [output] = node.outputs;
  if (bias === "") {
    integerProduct(context, node, "ConvInteger", activation, quantized, output);
    return;
  }
  const { edit } = context;
  const scaled = edit.fresh(`${output}quant_scaled_output`);
  integerProduct(context, node, "ConvInteger", activation, quantized, scaled);
  const shapeName = edit.fresh(`${output}_bias_reshape_shape`);
  const shape = weight.shape.map((_, at) => (at === 1 ? -1n : 1n));
  const tensor = fromData("int64", BigInt64Array.from(shape), [shape.length]);
  edit.initializers.set(
    shapeName,
    lazyInitializer(shapeName, { dtype: "int64", shape: tensor.shape, read: async () => tensor }),
  );
  const reshaped = edit.fresh(`${output}_bias_reshape_output`);
  restore(context, bias);
  edit.nodes.push(
    makeOnnxNode({ op: "Reshape", name: "", inputs: [bias, shapeName], outputs: [reshaped] }),
    makeOnnxNode({ op: "Add", name: `${output}_bias_add`, inputs: [scaled, reshaped], outputs: [output] }),
  );
}

/** output = float(op(activation, weight)) · (activation scale · weight scale) */
function integerProduct(
  context: DynamicContext,
  node: OnnxNode,
  op: "MatMulInteger" | "ConvInteger",
  activation: Quantized,
  weight: Quantized,
  output: string,
): void {
  const { edit, scaleProducts } = context;
  const name = node.name === "" ? "" : `${node.name}_quant`;
  const productName = name === "" ? `${activation.scale}_${weight.scale}_mul` : `${name}_scales_mul`;
  let product = scaleProducts.get(productName);
  if (product === undefined) {
    product = edit.fresh(`${productName}:0`);
    scaleProducts.set(productName, product);
    const inputs = [activation.scale, weight.scale];
    edit.nodes.push(makeOnnxNode({ op: "Mul", name: productName, inputs, outputs: [product] }));
  }
  const whole = edit.fresh(`${node.outputs[0]}_output_quantized`);
  const cast = edit.fresh(`${whole}_cast_output`);
  edit.nodes.push(
    makeOnnxNode({
      op,
      name,
      inputs: [activation.codes, weight.codes, activation.zeroPoint, weight.zeroPoint],
      outputs: [whole],
      attributes: node.attributes,
    }),
    makeOnnxNode({ op: "Cast", name: `${whole}_cast`, inputs: [whole], outputs: [cast], attributes: { to: int(1) } }),
    makeOnnxNode({ op: "Mul", name: name && `${name}_output_scale_mul`, inputs: [cast, product], outputs: [output] }),
  );
}

function quantizeActivation(context: DynamicContext, value: string): Quantized {
  const { edit, activations, gathered } = context;
  const known = gathered.get(value) ?? activations.get(value);
  if (known !== undefined) return known;
  const quantized: Quantized = {
    codes: edit.fresh(`${value}_quantized`),
    scale: edit.fresh(`${value}_scale`),
    zeroPoint: edit.fresh(`${value}_zero_point`),
  };
  activations.set(value, quantized);
  edit.nodes.push(
    makeOnnxNode({
      op: "DynamicQuantizeLinear",
      name: `${value}_QuantizeLinear`,
      inputs: [value],
      outputs: [quantized.codes, quantized.scale, quantized.zeroPoint],
    }),
  );
  return quantized;
}

function quantizeWeight(context: DynamicContext, weight: Initializer, axis: number | undefined): Quantized {
  const { weightType: type, weightSymmetric: symmetric, reduceRange } = context.settings;
  return weightTensors(context, weight, { type, symmetric, reduceRange, axis });
}

function weightTensors(
  context: DynamicContext,
  weight: Initializer,
  options: { type: Int8Type; symmetric: boolean; reduceRange: boolean; axis: number | undefined },
): Quantized {
  const { name, shape, data } = weight;
  const { type, axis } = options;
  const scaleShape = axis === undefined ? [] : [shape[axis]];
  const [scale, zeroPoint, codes] = addParts(context, {
    name,
    weight: data,
    form: axis === undefined ? type : `${type} per channel`,
    specs: {
      scale: { dtype: "float32", shape: scaleShape },
      zero_point: { dtype: type, shape: scaleShape },
      quantized: { dtype: type, shape },
    },
    computeStream(measured) {
      const source = weightCodes(data);
      // A row-major matrix with a scale a column is turned in memory.
      const perColumn = axis === 1 && shape.length === 2;
      const streams = axis === undefined || (perColumn && source?.order === "columns");
      if (source === undefined || !streams || shape.includes(0)) return undefined;
      if (source.order === "columns" && 4 * shape[0] > longestColumn) return undefined;
      const { dtype, order, parts } = source;
      return quantizeInt8Stream(parts, { ...options, shape, dtype, order, perColumn, name, measured }).then(partsOf);
    },
    compute(tensor) {
      const fast = quantizeInt8WithCoder(tensor, options, name, context.onTensor !== undefined);
      if (fast !== undefined) return partsOf(fast);
      const quantized = quantizeInt8(tensor, options, name);
      return {
        ...partsOf({ quantized }),
        measure: () => measureValues(float32Values(tensor), dequantizeInt8(quantized, axis).data),
      };
    },
  });
  return { codes, scale, zeroPoint };
}

function partsOf({
  quantized,
  sqnr = 0,
  largestError = 0,
}: {
  quantized: Int8Quantized;
  sqnr?: number;
  largestError?: number;
}) {
  return {
    tensors: { scale: quantized.scale, zero_point: quantized.zeroPoint, quantized: quantized.data },
    measure: () => ({ sqnr, largestError }),
  };
}

function rewriteGather(context: DynamicContext, node: OnnxNode, table: Initializer): boolean {
  if (table.shape.length < 2) return false;
  const [output] = node.outputs;
  const quantized = weightTensors(context, table, {
    type: "uint8",
    symmetric: false,
    reduceRange: false,
    axis: undefined,
  });
  const codes = context.edit.fresh(`${output}_quantized`);
  context.edit.nodes.push({ ...node, inputs: [quantized.codes, ...node.inputs.slice(1)], outputs: [codes] });
  context.gathered.set(output, { ...quantized, codes, restored: false });
  return true;
}

/** Float values of quantized Gathers that a node (or one of its bodies) reads are made before it. */
function restoreInputs(context: DynamicContext, node: OnnxNode): void {
  for (const input of node.inputs) restore(context, input);
  for (const body of bodies(node)) {
    for (const inner of body.nodes) restoreInputs(context, inner);
    for (const { name } of body.outputs) restore(context, name);
  }
}

function restore(context: DynamicContext, value: string): void {
  const quantized = context.gathered.get(value);
  if (quantized === undefined || quantized.restored) return;
  quantized.restored = true;
  context.edit.nodes.push(
    makeOnnxNode({
      op: "DequantizeLinear",
      name: `${value}_DequantizeLinear`,
      inputs: [quantized.codes, quantized.scale, quantized.zeroPoint],
      outputs: [value],
    }),
  );
}

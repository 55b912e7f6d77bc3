import type { Checkpoint } from "@loomweight/checkpoint";
import {
  type Attributes,
  type GraphIndex,
  type ImportedModel,
  type Initializer,
  indexGraph,
  type OnnxGraph,
  type OnnxNode,
} from "@loomweight/graph";
import { elementCount } from "@loomweight/tensor";
import { type LayerKind, type LayerShape, layerOf } from "../layer.ts";
import { type NormalizationParts, normalizationOf } from "./normalizations.ts";

/** How a node uses its weight. */
export type LayerForm = "MatMul" | "Gemm" | "Conv" | "Gather" | "MatMulNBits" | "Normalization";

/** One use of a layer's weight in a graph. A weight that several nodes use has several sites under one path. */
export interface LayerSite {
  /** Module path: that of the checkpoint, "model.layers.0.self_attn.q_proj". */
  readonly path: string;
  readonly layer: LayerShape;
  readonly form: LayerForm;
  /** The node of the product, and its attributes. */
  readonly node: OnnxNode;
  /** Name of the operand that is not the weight. */
  readonly x: string;
  /** Name of the value that enters the product as the weight, behind Transpose, Cast or DequantizeLinear. */
  readonly weight: string;
  /** Initializer that holds the weight (its codes, where it is quantized). */
  readonly stored: string;
  /** Name of the layer's output without bias; with it where the product's node adds the bias itself. */
  readonly product: string;
  /** Name of the layer's output, bias included: what an adapter changes. */
  readonly output: string;
  /** Name of the bias [out]. */
  readonly bias: string | undefined;
  /** How a normalization stands in the graph. */
  readonly normalization?: Pick<NormalizationParts, "form" | "offset">;
}

/**
 * The layers of a graph, found by the weights that its nodes use: MatMul, Gemm and MatMulNBits with a matrix, Conv with a
 * kernel, Gather with a table; through Transpose, Cast, DequantizeLinear and Reshape of the weight; and normalizations
 * over the last axis, as one node or written in standard operators. A following Add of a vector [out] is the bias. Paths are the weights' names without ".weight"; weights whose names say nothing
 * (onnx::MatMul_123) go by the scope of their node, and so does a head that shares the embedding's table.
 * `checkpoint` tells [out, in] from [in, out] where the file does not.
 */
export function findLayers(imported: ImportedModel, checkpoint?: Checkpoint): readonly LayerSite[] {
  const { graph } = imported.model;
  const index = indexGraph(graph);
  const tables = new Set<string>();
  for (const node of graph.nodes) {
    const stored = formOf(node) === "Gather" ? storedWeight(node.inputs[0], imported, index)?.initializer : undefined;
    if (stored !== undefined) tables.add(stored.name);
  }
  const sites: LayerSite[] = [];
  for (const node of graph.nodes) {
    const search = { imported, index, checkpoint, tables };
    const site = siteOf(node, search) ?? normalizationSite(node, search);
    if (site !== undefined) sites.push(site);
  }
  return apart(sites);
}

interface Search {
  readonly imported: ImportedModel;
  readonly index: GraphIndex;
  readonly checkpoint: Checkpoint | undefined;
  /** Weights that a Gather reads. */
  readonly tables: ReadonlySet<string>;
}

function formOf({ op, domain, attributes }: OnnxNode): LayerForm | undefined {
  if (op === "MatMulNBits" && domain === "com.microsoft") return "MatMulNBits";
  if (domain !== "" && domain !== "ai.onnx") return undefined;
  if (op === "MatMul" || op === "Conv") return op;
  if (op === "Gemm") return integer(attributes, "transA") === 0 ? "Gemm" : undefined;
  return op === "Gather" && integer(attributes, "axis") === 0 ? "Gather" : undefined;
}

function siteOf(node: OnnxNode, search: Search): LayerSite | undefined {
  const { imported, index, tables } = search;
  const form = formOf(node);
  if (form === undefined) return undefined;
  const weight = node.inputs[form === "Gather" ? 0 : 1];
  const x = node.inputs[form === "Gather" ? 1 : 0];
  const found = storedWeight(weight, imported, index);
  if (found === undefined) return undefined;
  const { initializer, transposed } = found;
  const path =
    form !== "Gather" && tables.has(initializer.name)
      ? (scopePath(node) ?? `${weightPath(initializer, node)}.head`)
      : weightPath(initializer, node);
  const layer = layerShape(form, node, initializer, { transposed, path, checkpoint: search.checkpoint });
  if (layer === undefined) return undefined;
  const product = node.outputs[0];
  const own = ownBias(form, node);
  const added = own === undefined ? addedBias(product, layer, imported.model.graph, index) : undefined;
  return {
    path,
    layer,
    form,
    node,
    x,
    weight,
    stored: initializer.name,
    product,
    output: added?.output ?? product,
    bias: own ?? added?.bias,
  };
}

function normalizationSite(node: OnnxNode, { imported, index }: Search): LayerSite | undefined {
  const parts = normalizationOf(node, imported, index);
  if (parts === undefined) return undefined;
  const { form, x, weight, initializer, offset, bias } = parts;
  const path = weightPath(initializer, node);
  const layer = layerOf("normalization", initializer.shape, path);
  const product = node.outputs[0];
  const added = bias === undefined ? addedBias(product, layer, imported.model.graph, index) : undefined;
  return {
    path,
    layer,
    form: "Normalization",
    node,
    x,
    weight,
    stored: initializer.name,
    product,
    output: added?.output ?? product,
    bias: bias ?? added?.bias,
    normalization: { form, offset },
  };
}

/** The initializer behind a value, through what exporters put between; undefined where there is none. */
function storedWeight(
  name: string | undefined,
  { model }: ImportedModel,
  index: GraphIndex,
): { initializer: Initializer; transposed: boolean } | undefined {
  let transposed = false;
  for (let at = name, steps = 0; at !== undefined && at !== "" && steps < 8; steps++) {
    const initializer = model.graph.initializers.get(at);
    if (initializer !== undefined) return { initializer, transposed };
    const producer = index.producer(at);
    if (
      producer === undefined ||
      !["Transpose", "Cast", "DequantizeLinear", "Identity", "Reshape"].includes(producer.op)
    )
      return undefined;
    if (producer.op === "Transpose") transposed = !transposed;
    at = producer.inputs[0];
  }
  return undefined;
}

/** Shape and kind; undefined where the operand is no layer's weight (a batch of matrices, a table of positions). */
function layerShape(
  form: LayerForm,
  node: OnnxNode,
  { shape, data }: Initializer,
  { transposed, path, checkpoint }: { transposed: boolean; path: string; checkpoint: Checkpoint | undefined },
): LayerShape | undefined {
  if (form === "Conv")
    return shape.length >= 3 && shape.length <= 5
      ? { ...layerOf("convolution", shape, path), groups: integer(node.attributes, "group") || 1 }
      : undefined;
  if (form === "MatMulNBits") {
    return layerOf("linear", [integer(node.attributes, "N"), integer(node.attributes, "K")], path);
  }
  if (shape.length !== 2) return undefined;
  if (form === "Gather") return transposed ? undefined : layerOf("embedding", shape, path);
  const turned = form === "Gemm" && integer(node.attributes, "transB") === 1;
  // [in, out] as the product takes it, whatever lies before
  const [inner, out] = transposed !== turned ? [shape[1], shape[0]] : shape;
  const stored = checkpoint?.tensors.get(data.origin?.tensors[0] ?? `${path}.weight`)?.shape;
  const kind = linearKind({
    turned,
    transposed,
    transform: data.origin?.transform,
    origin: data.origin !== undefined,
    form,
  });
  if (stored?.length === 2 && stored[0] !== stored[1]) {
    if (stored[0] === out && stored[1] === inner) return layerOf("linear", [out, inner], path);
    if (stored[0] === inner && stored[1] === out) return layerOf("transposedLinear", [inner, out], path);
  }
  return layerOf(kind, kind === "linear" ? [out, inner] : [inner, out], path);
}

/**
 * Whether the model stored the weight as [out, in]. A product with a plain [in, out] is a linear layer whose transposition
 * the exporter folded away, unless the file knows better; PyTorch writes GPT-2's Conv1D as Gemm without transB.
 */
function linearKind(known: {
  turned: boolean;
  transposed: boolean;
  transform: string | undefined;
  origin: boolean;
  form: LayerForm;
}): LayerKind {
  if (known.turned !== known.transposed) return "linear";
  if (known.origin) return known.transform?.includes("transpose") ? "linear" : "transposedLinear";
  return known.form === "Gemm" ? "transposedLinear" : "linear";
}

function ownBias(form: LayerForm, node: OnnxNode): string | undefined {
  const name =
    form === "Gemm" || form === "Conv" ? node.inputs[2] : form === "MatMulNBits" ? node.inputs[5] : undefined;
  return name === "" ? undefined : name;
}

/** The Add of a vector [out] that alone uses a product. */
function addedBias(
  product: string,
  layer: LayerShape,
  graph: OnnxGraph,
  index: GraphIndex,
): { bias: string; output: string } | undefined {
  if (layer.kind === "embedding" || layer.kind === "convolution" || index.isOutput(product)) return undefined;
  const [add, ...others] = index.consumers(product);
  if (add === undefined || others.length > 0 || add.op !== "Add" || add.domain !== "") return undefined;
  const bias = add.inputs[0] === product ? add.inputs[1] : add.inputs[0];
  if (bias === product) return undefined;
  const behind = index.producer(bias);
  const shape = graph.initializers.get(behind?.op === "Cast" ? behind.inputs[0] : bias)?.shape;
  return shape !== undefined && shape.length === 1 && elementCount(shape) === layer.out
    ? { bias, output: add.outputs[0] }
    : undefined;
}

/** The module's path: from the name of its weight where that is one, else from the scope of its node. */
function weightPath({ name, data }: Initializer, node: OnnxNode): string {
  const stored = data.origin?.tensors[0] ?? name;
  const plain = stored
    .replace(/_(quantized|Q\d+(G\d+)?|DQ_Q\d+|bnb4)$/, "")
    .replace(/[._]weight$/, "")
    .replace(/\.(MatMul|Gemm)$/, "");
  const saysNothing = /^(onnx::|[A-Za-z]+_\d+$|\d+$|val_\d+$|\/)/.test(plain) || plain === "";
  return saysNothing ? (scopePath(node) ?? plain) : plain;
}

/** "/model/layers.0/self_attn/q_proj/MatMul_1" → "model.layers.0.self_attn.q_proj". */
function scopePath({ name }: OnnxNode): string | undefined {
  const parts = name.split("/").filter((part) => part !== "");
  return parts.length < 2 ? undefined : parts.slice(0, -1).join(".");
}

/** Different weights under one path go by their own names. */
function apart(sites: readonly LayerSite[]): readonly LayerSite[] {
  const owner = new Map<string, string>();
  const taken = new Set(sites.map(({ path }) => path));
  return sites.map((site) => {
    const key = `${site.path}\n${site.layer.kind === "embedding" ? "table" : "layer"}`;
    const first = owner.get(key) ?? site.stored;
    owner.set(key, first);
    if (first === site.stored) return site;
    let path = `${site.path}.${site.stored}`;
    while (taken.has(path)) path = `${path}_`;
    return { ...site, path };
  });
}

function integer(attributes: Attributes, name: string): number {
  const attribute = Object.hasOwn(attributes, name) ? attributes[name] : undefined;
  return attribute?.type === "int" ? Number(attribute.value) : 0;
}

import { type Initializer, lazyTensor, type OnnxGraph, type OnnxNode, subgraphsOf } from "@loomweight/graph";
import { type DType, elementCount, isFloat, LoomweightError } from "@loomweight/tensor";
import {
  bnb4Form,
  dequantizeLinearForm,
  floatForm,
  gatherBlockForm,
  int8Form,
  matMulNBitsForm,
  type WeightForm,
} from "./forms.ts";
import { type ModulePath, pathOfName, pathOfNode } from "./names.ts";

/** A weight of a graph: where it is stored, and what its surroundings say about it. */
export interface WeightSlot {
  /** Of the initializer that holds its values or codes. */
  readonly name: string;
  readonly form: WeightForm;
  /** Paths that its name and the nodes that read it suggest, the name's first. */
  readonly paths: readonly ModulePath[];
  /** Operators that read it. */
  readonly readers: ReadonlySet<string>;
  /** A product reads it as [in, out], the transpose of what checkpoints hold. */
  readonly inOut: boolean;
  /** What reads it tells the order of its axes; else a square one may be either. */
  readonly ordered: boolean;
  /** Of a convolution's weight: the initializer of its bias. */
  readonly bias?: string;
  /** Where it is a Constant node. */
  readonly constant?: OnnxNode;
}

/** Floats of at most this many elements are settings (epsilons, scales of scores), unless a tensor gives them. */
export const fewElements = 16;

/** Every weight of a graph. Throws `UNSUPPORTED_WEIGHT_FORM` naming the node. */
export async function findSlots(graph: OnnxGraph): Promise<WeightSlot[]> {
  const nodes = allNodes(graph);
  const consumers = new Map<string, { node: OnnxNode; at: number }[]>();
  for (const node of nodes) {
    for (const [at, name] of node.inputs.entries()) {
      const list = consumers.get(name);
      if (list === undefined) consumers.set(name, [{ node, at }]);
      else list.push({ node, at });
    }
  }
  refuseInnerWeights(graph);
  const readersOf = (value: string) => consumers.get(value) ?? [];
  const settings = await int8Settings(graph, nodes);
  const forms = new Map<string, { form: WeightForm; node: OnnxNode }>();
  const add = (form: WeightForm, node: OnnxNode) => {
    if (!forms.has(form.parts[0])) forms.set(form.parts[0], { form, node });
  };
  for (const node of nodes) {
    if (node.op === "MatMulNBits") add(matMulNBitsForm(graph, node), node);
    else if (node.op === "MatMulBnb4") add(bnb4Form(graph, node), node);
    else if (node.op === "GatherBlockQuantized") {
      // a table tied to a quantized head: the product's codes in another shape, coded once
      if (!sharesCodes(graph, nodes, node, readersOf)) add(gatherBlockForm(graph, node), node);
    } else if (node.op === "DequantizeLinear" && graph.initializers.has(node.inputs[0])) {
      add(dequantizeLinearForm(graph, node, settings), node);
    } else if (node.op === "MatMulInteger" || node.op === "ConvInteger") {
      const parts = integerParts(graph, node, readersOf);
      if (parts !== undefined) add(int8Form(parts, settings), node);
    } else if (node.op === "Gather") {
      const parts = gatheredParts(graph, node, readersOf);
      // quantizers code tables with a zero point whatever they do to products
      if (parts !== undefined) add(int8Form(parts, { symmetric: (type) => type === "int8" }), node);
    }
  }
  const taken = new Set([...forms.values()].flatMap(({ form }) => form.parts));
  const slots: WeightSlot[] = [...forms.values()].map(({ form }) => slotOf(form, readersOf));
  for (const each of graph.initializers.values()) {
    if (taken.has(each.name)) continue;
    if (isFloat(each.dtype)) slots.push(slotOf(floatForm(each), readersOf));
    else if (isCode(each.dtype) && elementCount(each.shape) > fewElements)
      throw unknownCodes(each, readersOf(each.name));
  }
  for (const node of graph.nodes) {
    const constant = constantOf(node);
    if (constant !== undefined) slots.push({ ...slotOf(floatForm(constant), readersOf), constant: node });
  }
  return slots;
}

/** Nodes of a graph and of the bodies of its Ifs and Loops. */
export function allNodes(graph: OnnxGraph): OnnxNode[] {
  return graph.nodes.flatMap((node) => [node, ...subgraphsOf(node).flatMap(allNodes)]);
}

function refuseInnerWeights(graph: OnnxGraph): void {
  for (const body of graph.nodes.flatMap(subgraphsOf)) {
    for (const { name, dtype, shape } of body.initializers.values()) {
      if (!isFloat(dtype) || elementCount(shape) <= fewElements) continue;
      throw new LoomweightError({
        code: "UNSUPPORTED_WEIGHT_FORM",
        problem: "a weight inside the body of an If or Loop cannot be written anew",
        tensor: name,
        found: `${dtype} [${shape}] in "${body.name}"`,
        fix: "Export the model again with its weights in the outer graph.",
      });
    }
    refuseInnerWeights(body);
  }
}

/** A Constant node of many floats, as an initializer. */
function constantOf(node: OnnxNode): Initializer | undefined {
  const value = node.op === "Constant" && node.domain === "" ? node.attributes.value : undefined;
  if (value?.type !== "tensor" || !isFloat(value.value.dtype)) return undefined;
  const { dtype, shape } = value.value;
  if (elementCount(shape) <= fewElements) return undefined;
  return { name: node.outputs[0], dtype, shape, data: lazyTensor(value.value) };
}

interface Reader {
  readonly node: OnnxNode;
  readonly at: number;
}

const productOps = new Set(["MatMul", "MatMulInteger", "MatMulNBits", "MatMulBnb4"]);

function slotOf(form: WeightForm, readersOf: (value: string) => readonly Reader[]): WeightSlot {
  const name = form.parts[0];
  const readers = readersOf(name);
  const scopes = readers.map(({ node, at }) => pathOfNode(node.name, kindAt(node, at)));
  const orders = new Set(readers.flatMap(({ node, at }) => orderAt(node, at, readersOf, 0)));
  const bias = readers.find(({ node, at }) => node.op === "Conv" && at === 1)?.node.inputs[2];
  const ops = new Set(readers.map(({ node }) => node.op));
  return {
    name,
    form,
    ...(bias && { bias }),
    readers: ops,
    paths: [pathOfName(name), ...scopes.filter((path) => path !== undefined)],
    inOut: orders.has("in out"),
    ordered: orders.size === 1,
  };
}

/** Whether a table is the codes of a MatMulNBits, reshaped. */
function sharesCodes(
  graph: OnnxGraph,
  nodes: readonly OnnxNode[],
  { inputs: [table] }: OnnxNode,
  readersOf: (value: string) => readonly Reader[],
): boolean {
  const shaped = nodes.find(({ op, outputs }) => op === "Reshape" && outputs[0] === table);
  const codes = shaped?.inputs[0] ?? "";
  return (
    graph.initializers.has(codes) && readersOf(codes).some(({ node, at }) => node.op === "MatMulNBits" && at === 1)
  );
}

type AxisOrder = "in out" | "out in";

/** Which order of axes an operator expects, itself or through casts, dequantization and transposes; [] = either. */
function orderAt(
  node: OnnxNode,
  at: number,
  readersOf: (value: string) => readonly Reader[],
  depth: number,
): readonly AxisOrder[] {
  if (/^(Gemm|FusedMatMul)$/.test(node.op) && at === 1) return [node.attributes.transB?.value ? "out in" : "in out"];
  if (productOps.has(node.op)) return at === 1 ? ["in out"] : [];
  if (/^(Gather|GatherBlockQuantized|Conv|ConvInteger)$/.test(node.op)) return ["out in"];
  if (depth > 4 || at !== 0 || !/^(Cast|Identity|DequantizeLinear|Transpose)$/.test(node.op)) return [];
  const orders = readersOf(node.outputs[0]).flatMap((next) => orderAt(next.node, next.at, readersOf, depth + 1));
  if (node.op !== "Transpose") return orders;
  return orders.map((order) => (order === "in out" ? "out in" : "in out"));
}

/** What an operator takes a weight for, by which of its inputs it is. */
function kindAt(node: OnnxNode, at: number): string {
  if (node.op === "BatchNormalization") return ["", "weight", "bias", "running_mean", "running_var"][at] ?? "";
  if (node.op === "Add") return "bias";
  if (["LayerNormalization", "Gemm", "Conv", "InstanceNormalization", "GroupNormalization"].includes(node.op)) {
    return at === 2 ? "bias" : "weight";
  }
  return "weight";
}

interface Int8Parts {
  readonly codes: Initializer;
  readonly scale: Initializer;
  readonly zeroPoint: Initializer | undefined;
  readonly axis: number | undefined;
}

/** Weight of MatMulInteger or ConvInteger; its scale is a factor of what the product, cast to float, is multiplied by. */
function integerParts(
  graph: OnnxGraph,
  node: OnnxNode,
  readersOf: (value: string) => readonly Reader[],
): Int8Parts | undefined {
  const codes = graph.initializers.get(node.inputs[1]);
  if (codes === undefined) return undefined;
  const zeroPoint = graph.initializers.get(node.inputs[3] ?? "");
  const producers = new Map(graph.nodes.flatMap((each) => each.outputs.map((output) => [output, each] as const)));
  const floatInitializer = (name: string): Initializer | undefined => {
    const found = graph.initializers.get(name);
    return found !== undefined && isFloat(found.dtype) ? found : undefined;
  };
  for (const { node: castNode } of readersOf(node.outputs[0])) {
    for (const { node: mul } of castNode.op === "Cast" ? readersOf(castNode.outputs[0]) : []) {
      if (mul.op !== "Mul") continue;
      for (const factor of mul.inputs) {
        const product = producers.get(factor);
        const scale =
          floatInitializer(factor) ?? product?.inputs.map(floatInitializer).find((each) => each !== undefined);
        if (scale === undefined || (product !== undefined && product.op !== "Mul")) continue;
        const axis = node.op === "ConvInteger" ? 0 : codes.shape.length - 1;
        return { codes, scale, zeroPoint, axis };
      }
    }
  }
  throw unknownCodes(codes, [{ node, at: 1 }]);
}

/** A table of 8-bit codes that are made floats, or go on as codes, after they are gathered. */
function gatheredParts(
  graph: OnnxGraph,
  node: OnnxNode,
  readersOf: (value: string) => readonly Reader[],
): Int8Parts | undefined {
  const codes = graph.initializers.get(node.inputs[0]);
  if (codes === undefined || (codes.dtype !== "uint8" && codes.dtype !== "int8")) return undefined;
  const restored = readersOf(node.outputs[0]).find(
    (each) => each.node.op === "DequantizeLinear" && each.at === 0,
  )?.node;
  const stem = codes.name.replace(/_quantized$/, "");
  const scale = graph.initializers.get(restored?.inputs[1] ?? `${stem}_scale`);
  const zeroPoint = graph.initializers.get(restored?.inputs[2] ?? `${stem}_zero_point`);
  if (scale === undefined) throw unknownCodes(codes, [{ node, at: 0 }]);
  return { codes, scale, zeroPoint, axis: undefined };
}

/** Choices that a quantizer made for a whole model and a single weight does not show. */
async function int8Settings(
  graph: OnnxGraph,
  nodes: readonly OnnxNode[],
): Promise<{ symmetric: (type: DType) => boolean; reduceRange: boolean }> {
  const zeros = new Map<string, Set<number>>();
  let largest = 0;
  const products = nodes.filter(({ op }) => op === "MatMulInteger" || op === "ConvInteger");
  for (const { inputs } of products) {
    const [codes, zero] = [graph.initializers.get(inputs[1]), graph.initializers.get(inputs[3] ?? "")];
    if (zero !== undefined) {
      const seen = zeros.get(zero.dtype) ?? new Set<number>();
      zeros.set(zero.dtype, seen);
      for (const each of (await zero.data.read()).data) seen.add(Number(each));
    }
    if (codes === undefined || largest > 64) continue;
    for (const each of (await codes.data.read()).data) {
      const reach = codes.dtype === "uint8" ? Number(each) / 2 : Math.abs(Number(each));
      if (reach > largest) largest = reach;
    }
  }
  const only = (type: DType, middle: number) => [...(zeros.get(type) ?? [])].every((each) => each === middle);
  const symmetric = { int8: only("int8", 0), uint8: zeros.has("uint8") && only("uint8", 128) };
  return {
    symmetric: (type) => (type === "int8" ? symmetric.int8 : symmetric.uint8),
    reduceRange: products.length > 0 && largest <= 64,
  };
}

function isCode(dtype: DType): boolean {
  return ["int8", "uint8", "int4", "uint4", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"].includes(dtype);
}

function unknownCodes({ name, dtype, shape }: Initializer, readers: readonly Reader[]): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_WEIGHT_FORM",
    problem: "a quantized weight of a form that is not known",
    tensor: name,
    node: readers[0]?.node.name,
    found: `${dtype} [${shape}]${readers[0] === undefined ? ", read by nothing" : `, read by ${readers[0].node.op}`}`,
    expected: "MatMulNBits, MatMulBnb4, GatherBlockQuantized, DequantizeLinear, MatMulInteger, ConvInteger or Gather",
  });
}

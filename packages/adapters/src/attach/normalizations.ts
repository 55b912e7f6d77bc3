import {
  type Attributes,
  add,
  applyOne,
  cast,
  findRule,
  float,
  type GraphIndex,
  type ImportedModel,
  type Initializer,
  mul,
  type OnnxNode,
  opTables,
  type Value,
} from "@loomweight/graph";
import { LoomweightError } from "@loomweight/tensor";
import type { LayerSite } from "./layers.ts";

/**
 * How a graph holds a normalization: `norm`: one node over x; `skipNorm`: one node over x + skip (+ bias), onnxruntime's
 * fused form; `scale`: the Mul that ends one written in standard operators, over what was normalized.
 */
export type NormalizationForm = "norm" | "skipNorm" | "scale";

/** The parts of a normalization, by the names of their values. */
export interface NormalizationParts {
  readonly form: NormalizationForm;
  readonly x: string;
  /** The gain [n], behind casts, without `offset`. */
  readonly weight: string;
  readonly initializer: Initializer;
  /** A constant that the graph adds to the stored gain: Gemma stores what the gain differs from 1 by. */
  readonly offset: string | undefined;
  /** Of a node that adds the bias itself. */
  readonly bias: string | undefined;
}

const norms = new Set(["LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"]);
const skipNorms = new Set(["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"]);

/** The normalization over the last axis that a node is, or whose end it is; undefined for other nodes. */
export function normalizationOf(
  node: OnnxNode,
  imported: ImportedModel,
  index: GraphIndex,
): NormalizationParts | undefined {
  if (skipNorms.has(node.op) && node.domain === "com.microsoft") {
    const found = gainOf(node.inputs[2], imported, index);
    const bias = node.op === "SkipLayerNormalization" ? node.inputs[3] || undefined : undefined;
    return found && { form: "skipNorm", x: node.inputs[0], bias, ...found };
  }
  if (node.domain !== "" && node.domain !== "ai.onnx") return undefined;
  if (norms.has(node.op)) {
    const found = gainOf(node.inputs[1], imported, index);
    const bias = node.op === "LayerNormalization" ? node.inputs[2] || undefined : undefined;
    return found && { form: "norm", x: node.inputs[0], bias, ...found };
  }
  if (node.op !== "Mul") return undefined;
  for (const [x, gain] of [node.inputs, [node.inputs[1], node.inputs[0]]]) {
    if (!isNormalized(x, index)) continue;
    const found = gainOf(gain, imported, index);
    if (found !== undefined) return { form: "scale", x, bias: undefined, ...found };
  }
  return undefined;
}

/** A vector behind Cast and Identity, and a constant scalar added to it. */
function gainOf(
  name: string | undefined,
  { model: { graph } }: ImportedModel,
  index: GraphIndex,
): Pick<NormalizationParts, "weight" | "initializer" | "offset"> | undefined {
  let offset: string | undefined;
  let weight = name;
  for (let at = name, steps = 0; at !== undefined && at !== "" && steps < 4; steps++) {
    const initializer = graph.initializers.get(at);
    if (initializer !== undefined) {
      return initializer.shape.length === 1 ? { weight: weight as string, initializer, offset } : undefined;
    }
    const producer = index.producer(at);
    if (producer?.op === "Add" && offset === undefined) {
      const [a, b] = producer.inputs;
      const scalar = [a, b].find((each) => graph.initializers.get(each)?.shape.every((size) => size === 1));
      if (scalar === undefined) return undefined;
      offset = scalar;
      at = scalar === a ? b : a;
      weight = at;
    } else if (producer?.op === "Cast" || producer?.op === "Identity") at = producer.inputs[0];
    else return undefined;
  }
  return undefined;
}

/** x / √… or x · (1 / √…) of a mean: behind casts. */
function isNormalized(name: string, index: GraphIndex): boolean {
  const node = through(name, index, ["Cast"]);
  if (node?.op === "Div") return isRoot(node.inputs[1], index);
  if (node?.op !== "Mul") return false;
  return node.inputs.some((each) => {
    const other = through(each, index, ["Cast"]);
    if (other?.op === "Reciprocal") return isRoot(other.inputs[0], index);
    return other?.op === "Div" && isRoot(other.inputs[1], index);
  });
}

/** √(mean + ε) */
function isRoot(name: string, index: GraphIndex): boolean {
  const root = through(name, index, ["Cast"]);
  if (root?.op !== "Sqrt") return false;
  const sum = through(root.inputs[0], index, ["Cast"]);
  return sum?.op === "Add" && sum.inputs.some((each) => through(each, index, ["Cast"])?.op === "ReduceMean");
}

function through(name: string, index: GraphIndex, ops: readonly string[]): OnnxNode | undefined {
  let node = index.producer(name);
  while (node !== undefined && ops.includes(node.op)) node = index.producer(node.inputs[0]);
  return node;
}

/** What a normalization reads: of `skipNorm` the sum in front of it. */
export function normalizationInput({ x, node, normalization }: LayerSite, value: (name: string) => Value): Value {
  if (normalization?.form !== "skipNorm") return value(x);
  const bias = node.inputs[4] || undefined;
  const sum = add(value(x), value(node.inputs[1]));
  return bias === undefined ? sum : add(sum, value(bias));
}

/** The normalization with another gain [n], as it is stored, and no bias. */
export function normalizationWith(
  { node, normalization }: LayerSite,
  x: Value,
  gain: Value,
  value: (name: string) => Value,
): Value {
  const scale = normalization?.offset === undefined ? gain : add(gain, cast(value(normalization.offset), gain.dtype));
  if (normalization?.form === "scale") return mul(x, scale);
  const [op, attributes] = plainForm(node);
  const rule = findRule(opTables(), "", op);
  if (rule !== undefined) return applyOne(rule, [x, scale], attributes);
  throw new LoomweightError({ code: "UNSUPPORTED_OP", problem: `no rule for ${op}`, node: node.name });
}

/** The operator without skip, and its attributes. */
function plainForm({ op, attributes }: OnnxNode): [string, Attributes] {
  if (!skipNorms.has(op)) return [op, attributes];
  const epsilon = attributes.epsilon ?? float(1e-12); // onnxruntime's default for the fused forms
  return [op.replace("Skip", ""), { epsilon }];
}

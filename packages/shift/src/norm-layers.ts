import { type GraphValue, type ImportedModel, instantiate, isTensor, type Value } from "@loomweight/graph";

/** A normalization of a graph with the names of its weights. */
export interface NormLayer {
  /** "batch": statistics over the batch, recorded ones in the file; "feature": over each sample's own features. */
  readonly kind: "batch" | "feature";
  /** Name of its node. */
  readonly node: string;
  /** γ and β, where they are weights of the model. */
  readonly weight?: string;
  readonly bias?: string;
  /** Recorded statistics; kind "batch". */
  readonly mean?: string;
  readonly variance?: string;
}

/** Ops that normalize each sample by itself, with the places of γ and β. */
const featureOps: Readonly<Record<string, readonly [weight: number, bias: number]>> = {
  LayerNormalization: [1, 2],
  GroupNormalization: [1, 2],
  InstanceNormalization: [1, 2],
  RMSNormalization: [1, -1],
  SimplifiedLayerNormalization: [1, -1],
  SkipLayerNormalization: [2, 3],
  SkipSimplifiedLayerNormalization: [2, -1],
};

/**
 * The normalizations of a model in the order of its nodes: their own operators, and the form older exporters write
 * (x̂ = centred / √(…), then Mul by γ and Add of β).
 */
export function findNormLayers(model: ImportedModel): readonly NormLayer[] {
  const layers: NormLayer[] = [];
  const scaled = new Map<Value, number>();
  instantiate(model, {
    change({ node: { op, name }, value }) {
      if (isTensor(value) || value.node === undefined || value.node.outputs[0] !== value) return undefined;
      const { inputs } = value.node;
      const at = (index: number) => weightName(inputs[index]);
      if (op === "BatchNormalization") {
        layers.push({ kind: "batch", node: name, weight: at(1), bias: at(2), mean: at(3), variance: at(4) });
      } else if (Object.hasOwn(featureOps, op)) {
        const [weight, bias] = featureOps[op];
        layers.push({ kind: "feature", node: name, weight: at(weight), ...(bias >= 0 && { bias: at(bias) }) });
      } else if (op === "Mul") {
        const [weight, x] = weightAndOther(inputs);
        if (weight !== undefined && isStandardized(x)) {
          scaled.set(value, layers.length);
          layers.push({ kind: "feature", node: name, weight });
        }
      } else if (op === "Add") {
        const [bias, x] = weightAndOther(inputs);
        const index = x && scaled.get(x);
        if (bias !== undefined && index !== undefined) layers[index] = { ...layers[index], bias };
      }
      return undefined;
    },
  });
  return layers;
}

/** Through what brings γ [C] to [C, 1, 1] or another dtype. */
function behind(value: Value | undefined): Value | undefined {
  let at = value;
  while (at !== undefined && !isTensor(at) && ["Reshape", "Unsqueeze", "Cast"].includes(at.node?.op ?? "")) {
    at = at.node?.inputs[0];
  }
  return at;
}

function weightName(value: Value | undefined): string | undefined {
  const at = behind(value);
  return at !== undefined && !isTensor(at) && at.kind === "parameter" ? at.name : undefined;
}

/** The operand that is a weight of one axis of features, and the one that is computed. */
function weightAndOther(inputs: readonly (Value | undefined)[]): [string | undefined, Value | undefined] {
  for (const [a, b] of [inputs, [...inputs].reverse()]) {
    const weight = behind(a);
    if (weight === undefined || isTensor(weight) || weight.kind !== "parameter") continue;
    const vector = weight.shape.filter((size) => size !== 1).length <= 1 && weight.shape.length > 0;
    if (vector && weight.dtype.includes("float")) return [weight.name, b];
  }
  return [undefined, undefined];
}

/** x / √(…), or x · (1 / √(…)). */
function isStandardized(value: Value | undefined): boolean {
  const node = nodeOf(behind(value));
  if (node?.op === "Div") return nodeOf(node.inputs[1])?.op === "Sqrt";
  return node?.op === "Mul" && node.inputs.some((each) => isInverseRoot(nodeOf(each)));
}

function isInverseRoot(node: GraphValue["node"]): boolean {
  if (node?.op === "Reciprocal") return nodeOf(node.inputs[0])?.op === "Sqrt";
  return node?.op === "Div" && nodeOf(node.inputs[1])?.op === "Sqrt";
}

function nodeOf(value: Value | undefined): GraphValue["node"] {
  return value === undefined || isTensor(value) ? undefined : value.node;
}

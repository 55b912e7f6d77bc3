import type { OnnxModel, OnnxNode } from "@loomweight/graph";
import { type BlockBits, invalid } from "../options.ts";
import { roundHalfToEven } from "../rounding.ts";
import { matchesPattern } from "./selection.ts";

/** How some products are coded otherwise than the rest; of several rules that fit a node the first one counts. */
export interface BlockRule {
  /** Name of a node or weight with `*` for any text, or a regular expression that is found in it. */
  readonly match: string | RegExp;
  /** Bits of a code; "float" leaves the product as it is. Default: as the rest. */
  readonly bits?: BlockBits | "float";
  readonly blockSize?: number;
  readonly symmetric?: boolean;
}

/**
 * Which products get 8 bits: "head": what gives the logits. "ends": that, and the first and the last layer. "k-mixed":
 * that, and of an eighth of the layers at either end and every third between the value (or joined) projections of
 * attention and the last projections of MLPs, which suffer most; as onnxruntime-genai's builder chooses.
 */
export const mixedPresets = ["head", "ends", "k-mixed"] as const;
export type MixedPreset = (typeof mixedPresets)[number];

/** Names by which a layer is numbered: layers.3, h.3, block.3, layer_3, blocks/3. */
const layerName = /(?:^|[./_])(?:layers?|h|blocks?)[._/]?(\d+)(?=[./_]|$)/;
const sensitive =
  /(?:^|[./_])(?:v_proj|qkv_proj|c_attn|query_key_value|Wqkv|value|down_proj|c_proj|fc2|fc_out|dense_4h_to_h|wo|w2)(?=[./_]|$)/;

/** The rule that a product falls under, by its own name or its weight's; undefined for none. */
export function ruleFor(rules: readonly BlockRule[], { name, inputs }: OnnxNode): BlockRule | undefined {
  const fits = (match: BlockRule["match"], text: string): boolean =>
    typeof match === "string"
      ? matchesPattern(match, text)
      : new RegExp(match.source, match.flags.replace(/[gy]/g, "")).test(text);
  return rules.find(({ match }) => [name, inputs[1] ?? ""].some((text) => text !== "" && fits(match, text)));
}

/** Throws `INVALID_OPTION` for rules that say nothing sensible. */
export function checkRules(rules: readonly BlockRule[], where: string): void {
  if (!Array.isArray(rules)) throw invalid(`${where}.rules`, rules, "a list of rules");
  for (const rule of rules) {
    if (typeof rule?.match !== "string" && !(rule?.match instanceof RegExp)) {
      throw invalid(`${where}.rules`, rule?.match, "a name, or a regular expression, for each rule");
    }
    const { bits } = rule;
    if (bits !== undefined && bits !== "float" && ![2, 4, 8].includes(bits)) {
      throw invalid(`${where}.rules`, bits, "2, 4, 8 or float bits");
    }
  }
}

/** The nodes of `model` that a preset holds in 8 bits. Throws `INVALID_OPTION` for an unknown one. */
export function nodesInEightBits(model: OnnxModel, preset: MixedPreset, where: string): ReadonlySet<OnnxNode> {
  if (!mixedPresets.includes(preset)) throw invalid(`${where}.mixed`, preset, mixedPresets.join(", "));
  const products = model.graph.nodes.filter(
    ({ op, domain, inputs }) => op === "MatMul" && domain === "" && model.graph.initializers.has(inputs[1]),
  );
  const chosen = new Set(headsOf(model));
  const layerOf = (node: OnnxNode): number | undefined => {
    const found = layerName.exec(node.inputs[1]) ?? layerName.exec(node.name);
    return found === null ? undefined : Number(found[1]);
  };
  const last = products.reduce((most, node) => Math.max(most, layerOf(node) ?? -1), -1);
  const count = last + 1;
  const eighth = roundHalfToEven(count / 8);
  for (const node of products) {
    const layer = layerOf(node);
    if (layer === undefined || preset === "head") continue;
    if (preset === "ends" && (layer === 0 || layer === last)) chosen.add(node);
    const spread = layer < count / 8 || layer >= (7 * count) / 8 || (layer - eighth) % 3 === 2;
    const suffers = sensitive.test(node.inputs[1]) || sensitive.test(node.name);
    if (preset === "k-mixed" && spread && suffers) chosen.add(node);
  }
  return chosen;
}

/** What a head's result goes through on its way out. */
const passing = new Set(["Add", "Cast", "Div", "Identity", "Mul", "Reshape", "Squeeze", "Tanh"]);

/** Products that give the outputs named logits, behind biases, caps and casts. */
function headsOf({ graph }: OnnxModel): OnnxNode[] {
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const heads: OnnxNode[] = [];
  for (const { name } of graph.outputs) {
    if (!name.includes("logits")) continue;
    let node = producers.get(name);
    for (let steps = 0; node !== undefined && passing.has(node.op) && steps < 16; steps++) {
      node = node.inputs.map((input) => producers.get(input)).find((each) => each !== undefined);
    }
    if (node?.op === "MatMul") heads.push(node);
  }
  return heads;
}

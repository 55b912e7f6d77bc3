import {
  add,
  cast,
  equal,
  type ImportedModel,
  indexGraph,
  type OnnxNode,
  reshape,
  type Value,
  type ValueSite,
  where,
} from "@loomweight/graph";
import { LoomweightError, scalar } from "@loomweight/tensor";
import { hiddenValues } from "./blocks.ts";

/** Fused attention that cannot be told which tokens see each other; GroupQueryAttention can, by its attention_bias. */
const closed: readonly string[] = ["MultiHeadAttention", "Attention", "PackedAttention", "LinearAttention"];
const attentionBias = 10;

/**
 * Keeps packed texts apart: scores between tokens of different `segments` [rows, length] are lowered until their share
 * is 0. It is added to the mask, which layers share, or to the scores where they have none. Hand the result to
 * `instantiate`. Throws `PACKING_UNSUPPORTED` for graphs whose attention or positions cannot be told.
 */
export function segmentMask(imported: ImportedModel, segments: Value): (site: ValueSite) => Value | undefined {
  if (!imported.inputs.some(({ name }) => name === "position_ids")) {
    throw unsupported("the model has no input for positions, which begin anew in every packed text", "position_ids");
  }
  const places = maskPlaces(imported);
  const [rows, length] = segments.shape.map(Number);
  const same = equal(reshape(segments, [rows, 1, length]), reshape(segments, [rows, length, 1])); // [rows, query, key]
  return ({ name, value, node }) => {
    if (!places.has(name)) return undefined;
    const { shape, dtype } = value;
    const broadcasts = shape.length >= 3 && (shape[0] === 1 || shape[0] === rows) && shape.at(-1) === length;
    if (!broadcasts) throw unsupported(`the attention scores or their mask have the shape [${shape}]`, node.name);
    // Far below every score, and absorbed by the lowest number where a key is masked already.
    const apart = cast(where(same, scalar(0), scalar(dtype === "float16" ? -3e4 : -1e9)), dtype);
    return add(value, reshape(apart, [rows, ...shape.slice(1, -2).map(() => 1), length, length]));
  };
}

/** Values that the bias is added to: masks where scores get one, else the scores. */
function maskPlaces(imported: ImportedModel): Set<string> {
  const { graph } = imported.model;
  const index = indexGraph(graph);
  const hidden = hiddenValues(imported);
  const places = new Set<string>();
  for (const node of graph.nodes) {
    if (closed.includes(node.op)) throw unsupported(`${node.op} takes no mask for single tokens`, node.name);
    if (node.op === "GroupQueryAttention") {
      const bias = node.inputs[attentionBias] ?? "";
      if (bias === "") throw unsupported("GroupQueryAttention has no attention_bias here", node.name);
      places.add(bias);
    } else if (node.op === "Softmax" && hidden.has(node.inputs[0])) {
      places.add(maskOf(index.producer(node.inputs[0]), hidden) ?? node.inputs[0]);
    }
  }
  if (places.size > 0) return places;
  throw unsupported("no attention was found in the graph", undefined);
}

function maskOf(node: OnnxNode | undefined, hidden: ReadonlySet<string>): string | undefined {
  return node?.op === "Add" ? node.inputs.find((name) => !hidden.has(name)) : undefined;
}

function unsupported(problem: string, node: string | undefined): LoomweightError {
  return new LoomweightError({
    code: "PACKING_UNSUPPORTED",
    problem: `packed texts cannot be kept apart: ${problem}`,
    node,
    fix: "Train without packing, or on the model's folder instead of its file.",
  });
}

import {
  add,
  cast,
  div,
  fusedMatMul,
  gemm,
  matMul,
  mul,
  reduceSum,
  reshape,
  shapeOf,
  slice,
  squeeze,
  tanh,
  transpose,
  unsqueeze,
  type Value,
} from "@loomweight/graph";
import type { ConfigReader } from "../config-reader.ts";
import { linear } from "./linear.ts";
import { inside, type Module, pathOf, weight } from "./module.ts";

/**
 * How a head that is tied to the embedding is written. "shared": the graph holds the table once and the head reads it
 * transposed. "separate": the head has a weight of its own, [hidden, vocabulary], read from the same tensor; a quantizer
 * then replaces it, so that only its quantized form is stored.
 */
export type TiedHead = "shared" | "separate";

export interface LanguageHeadOptions {
  readonly hiddenSize: number;
  readonly vocabSize: number;
  /** Full name of the embedding table, where the head is tied to it. */
  readonly tiedTo: string | undefined;
  readonly tiedHead: TiedHead;
  /** Whether the head has a bias [vocabulary]; default false. */
  readonly bias?: boolean;
}

/** The head `name` below `parent` ("lm_head"): hidden states [batch, sequence, hidden] → x · Wᵀ [batch, sequence, vocabulary]. */
export function languageHead(parent: Module, name: string, x: Value, options: LanguageHeadOptions): Value {
  return inside(parent, name, (head) => {
    const product = vocabularyProduct(head, x, options);
    return options.bias === true ? add(product, weight(head, "bias", [options.vocabSize])) : product;
  });
}

function vocabularyProduct(head: Module, x: Value, options: LanguageHeadOptions): Value {
  const { hiddenSize, vocabSize, tiedTo, tiedHead } = options;
  const { weights } = head;
  const shape = [vocabSize, hiddenSize] as const;
  const own = pathOf(head, "weight");
  if (tiedTo === undefined) return matMul(x, weights.matrix(own, shape));
  if (tiedHead === "separate") return matMul(x, weights.matrix(tiedTo, shape, own));
  if (head.gpuOnly) {
    // the table on the left: the other way asks for sizes that only the CPU joins
    return transpose(matMul(weights.tensor(tiedTo, shape), transpose(x, [0, 2, 1])), [0, 2, 1]);
  }
  // Gemm is for matrices only, and logits of a long prompt take long to copy into shape
  if (head.fused.has("FusedMatMul")) return fusedMatMul(x, weights.tensor(tiedTo, shape), { transB: true });
  const rows = gemm(reshape(x, [-1, hiddenSize]), weights.tensor(tiedTo, shape), undefined, { transB: true });
  const leading = (axis: number) => shapeOf(x, { start: axis, end: axis + 1 });
  return reshape(rows, [leading(0), leading(1), vocabSize]);
}

/** cap · tanh(x / cap): bends values into ±cap. Gemma 2, arXiv:2408.00118, §2. */
export function softCapped(x: Value, cap: number | undefined): Value {
  return cap === undefined ? x : mul(tanh(div(x, cap)), cap);
}

/** Logits leave a graph as float32, whatever it computes in. */
export function logitsOutput(logits: Value): Value {
  return cast(logits, "float32");
}

/** Hidden states of the first token: [batch, sequence, hidden] → [batch, hidden]. */
export function firstToken(x: Value): Value {
  return squeeze(slice(x, { axes: [1], starts: [0], ends: [1] }), [1]);
}

/** The states [batch, sequence, hidden] of the one token of each row for which `chosen` [batch, sequence] holds: [batch, hidden]. */
export function stateWhere(states: Value, chosen: Value): Value {
  return reduceSum(mul(states, unsqueeze(cast(chosen, states.dtype), [2])), [1], false);
}

/**
 * The linear layer "classifier" (or `name`): [..., hidden] → [..., labels]. Counts the labels from the weights where the
 * configuration does not say.
 */
export function classifier(
  model: Module,
  x: Value,
  options: { readonly hiddenSize: number; readonly labels: number | undefined; readonly name?: string },
): Value {
  const { hiddenSize, name = "classifier", labels = model.weights.shapeOf(`${name}.weight`)[0] } = options;
  return linear(model, name, x, { inFeatures: hiddenSize, outFeatures: labels, bias: true });
}

/** Number of labels as `id2label` or `num_labels` says; undefined when neither is there. */
export function countLabels(config: ConfigReader): number | undefined {
  const names = config.value("id2label");
  const stated = config.has("num_labels") ? config.size("num_labels") : undefined;
  if (names === undefined) return stated;
  if (typeof names !== "object" || names === null) throw config.refuse("id2label", "an object from label ids to names");
  const count = Object.keys(names).length;
  if (stated !== undefined && stated !== count) throw config.refuse("num_labels", `${count}, as id2label says`);
  return count;
}

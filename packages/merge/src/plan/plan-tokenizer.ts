import type { TensorInfo } from "@loomweight/checkpoint";
import { byteLengthOf, LoomweightError } from "@loomweight/tensor";
import type { ModelReference } from "../recipe/model-reference.ts";
import type { Recipe } from "../recipe/recipe.ts";
import type { RecipeTokenizer } from "../recipe/tokenizer.ts";
import { planVocabulary } from "../tokenizer/vocabulary.ts";
import type { PlannedTokenizer, PlannedVocabulary } from "./plan.ts";
import type { PlanModel } from "./plan-merge.ts";
import { outsideRole } from "./roles.ts";

export interface TokenizerPlan {
  readonly rows: PlannedVocabulary;
  readonly tokenizer: PlannedTokenizer;
  /** Per model, its tensors with embeddings and heads as they are once rebuilt, in the dtype they are stored in. */
  readonly tensors: readonly ReadonlyMap<string, TensorInfo>[];
  readonly warnings: readonly string[];
}

/**
 * Decides the vocabulary of a recipe with tokenizer settings, and which tensors of which models are rebuilt to it:
 * embeddings and heads with a row per token. Throws `NO_EMBEDDING`, and what `planVocabulary` throws.
 */
export function planTokenizer(
  recipe: Recipe,
  references: readonly ModelReference[],
  models: readonly PlanModel[],
): TokenizerPlan {
  const { settings } = recipe.tokenizer as RecipeTokenizer;
  const parts = models.map(({ checkpoint }) => rowsPerToken(checkpoint.tensors));
  const inputs = models.map((model, index) => {
    const [embedding] = parts[index].embeddings;
    if (embedding === undefined) {
      throw new LoomweightError({
        code: "NO_EMBEDDING",
        problem: `${references[index].key} has no embedding [tokens, width] to rebuild for the tokenizer`,
        expected: "a tensor such as model.embed_tokens.weight",
        fix: "Merge without tokenizer settings.",
        ...references[index].place,
      });
    }
    return { model: references[index].key, tokenizer: model.tokenizer, rows: embedding.shape[0] };
  });
  const base = recipe.base === undefined ? undefined : references.findIndex(({ key }) => key === recipe.base?.key);
  const plan = planVocabulary(inputs, base, settings);
  const embeddings = parts.map((part) => {
    const rebuilt: Record<string, readonly string[]> = {};
    for (const { name } of part.embeddings) {
      rebuilt[name] = parts.map((other) => (other.names.has(name) ? name : other.embeddings[0].name));
    }
    // A model without a head of its own lends its embedding.
    for (const { name } of part.heads) {
      rebuilt[name] = parts.map((other) =>
        other.names.has(name) ? name : (other.heads[0] ?? other.embeddings[0]).name,
      );
    }
    return rebuilt;
  });
  return {
    rows: { rows: plan.rows, tokens: plan.tokens, inputs: plan.inputs, embeddings },
    tokenizer: { donor: plan.donor, file: plan.tokenizer, changed: plan.changed },
    tensors: models.map(({ checkpoint }, index) => withRows(checkpoint.tensors, embeddings[index], plan.rows)),
    warnings: plan.warnings,
  };
}

interface RowsPerToken {
  readonly embeddings: readonly TensorInfo[];
  readonly heads: readonly TensorInfo[];
  readonly names: ReadonlySet<string>;
}

function rowsPerToken(tensors: ReadonlyMap<string, TensorInfo>): RowsPerToken {
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length === 2);
  const embeddings = matrices.filter(({ name }) => outsideRole(name) === "embedding");
  const heads = matrices.filter(({ name }) => outsideRole(name) === "head");
  return { embeddings, heads, names: new Set([...embeddings, ...heads].map(({ name }) => name)) };
}

function withRows(
  tensors: ReadonlyMap<string, TensorInfo>,
  rebuilt: Readonly<Record<string, unknown>>,
  rows: number,
): ReadonlyMap<string, TensorInfo> {
  const result = new Map(tensors);
  for (const name of Object.keys(rebuilt)) {
    const info = tensors.get(name) as TensorInfo;
    const shape = [rows, info.shape[1]];
    result.set(name, { ...info, shape, byteLength: byteLengthOf(info.dtype, rows * shape[1]) });
  }
  return result;
}

import { type LoomweightError, unknownName } from "@loomweight/tensor";
import { type AnyMergeMethod, recipeSpelling } from "./define.ts";
import type { FormulaTerms } from "./formula.ts";
import type { MergePlan, TensorPlan, TensorReference } from "./plan/plan.ts";
import { documentName } from "./plan-checkpoints.ts";

/** How a tensor of a plan comes about, and the tensors of the recipe's documents that it is made from. Plain data. */
export interface TensorExplanation extends ExplainedTensor {
  /** Tensors of documents, each once, those nearest to the output first. */
  readonly documents: readonly (ExplainedTensor & { readonly document: string })[];
}

export interface ExplainedTensor {
  readonly tensor: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly method: string;
  /** With the numbers that apply to this tensor; models by their symbols. */
  readonly formula: string;
  /** The base (symbol `base`), where the method takes one apart from the models, then the models (`x1`, `x2`, …). */
  readonly inputs: readonly ExplainedInput[];
  /** Options of the method under their recipe spelling, after gradients and conditions. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Set where its rows were rebuilt to the vocabulary of the recipe's tokenizer. */
  readonly vocabulary?: { readonly rows: number; readonly tokens: number };
}

export interface ExplainedInput {
  readonly symbol: string;
  /** As the recipe spells it. */
  readonly model: string;
  readonly tensor: string;
  /** Leading rows and columns taken, where the stored tensor has more. */
  readonly cut?: readonly number[];
  /** Options of this input under their recipe spelling. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Whether the model is a document of the recipe (with an adapter folded into it, where `model` names one). */
  readonly isDocument: boolean;
}

/**
 * Says how `tensor` of a plan comes about: the formula with its numbers, through documents that it is made from.
 * `methods` are those of the plan and its documents. Throws `UNKNOWN_TENSOR`, naming the closest.
 */
export function explainTensor(plan: MergePlan, tensor: string, methods: readonly AnyMergeMethod[]): TensorExplanation {
  const seen = new Map<MergePlan, Set<string>>();
  const documents: (ExplainedTensor & { document: string })[] = [];
  const follow = (from: MergePlan, explained: ExplainedTensor): void => {
    for (const { model, tensor: name, isDocument } of explained.inputs) {
      const document = isDocument ? from.documents?.[from.models.indexOf(model)] : undefined;
      const known = document && (seen.get(document) ?? new Set());
      if (document === undefined || known === undefined || known.has(name)) continue;
      seen.set(document, known.add(name));
      // A tensor that an adapter adds is none of the document's.
      if (!document.tensors.some((each) => each.name === name)) continue;
      const inner = explainOne(document, name, methods);
      documents.push({ document: documentName(model, from.adapters?.[from.models.indexOf(model)]), ...inner });
      follow(document, inner);
    }
  };
  const explained = explainOne(plan, tensor, methods);
  follow(plan, explained);
  return { ...explained, documents };
}

function explainOne(plan: MergePlan, tensor: string, methods: readonly AnyMergeMethod[]): ExplainedTensor {
  const planned = plan.tensors.find(({ name }) => name === tensor);
  if (planned === undefined) throw unknownTensor(plan, tensor);
  const input = (symbol: string, reference: TensorReference, options: Readonly<Record<string, unknown>>) => {
    return {
      symbol,
      model: plan.models[reference.model],
      tensor: reference.tensor,
      ...(reference.cut && { cut: reference.cut }),
      options: spelled(options),
      isDocument: plan.documents?.[reference.model] !== undefined,
    };
  };
  const single = planned.inputs.length === 1;
  const symbolOf = (index: number) => (single ? "x" : `x${index + 1}`);
  const copied = planned.copy ?? undefined;
  const inputs =
    copied !== undefined
      ? [input("x", copied, {})]
      : [
          ...(planned.base === undefined ? [] : [input("base", planned.base, {})]),
          ...planned.inputs.map((each, index) => input(symbolOf(index), each, each.options)),
        ];
  const { vocabulary } = plan;
  const isRebuilt = inputs.some(({ tensor: name }) => vocabulary?.embeddings.some((each) => Object.hasOwn(each, name)));
  return {
    tensor: planned.name,
    dtype: planned.dtype,
    shape: planned.shape,
    method: plan.method,
    formula: copied !== undefined ? "x, copied as it is" : formulaOf(planned, plan.method, methods, symbolOf),
    inputs,
    options: spelled(planned.options),
    ...(isRebuilt && vocabulary && { vocabulary: { rows: vocabulary.rows, tokens: vocabulary.tokens } }),
  };
}

/** Names the closest, or those that have it as a part. */
function unknownTensor(plan: MergePlan, tensor: string): LoomweightError {
  const known = plan.tensors.map(({ name }) => name);
  const holding = known.filter((name) => tensor !== "" && name.includes(tensor));
  const more = holding.length > 3 ? `, and ${holding.length - 3} more` : "";
  const fix =
    holding.length === 0
      ? undefined
      : `It is a part of ${holding
          .slice(0, 3)
          .map((name) => `"${name}"`)
          .join(", ")}${more}: give one name.`;
  return unknownName({ kind: "tensor of the output", name: tensor, known, code: "UNKNOWN_TENSOR", fix });
}

function formulaOf(
  { base, inputs, options }: TensorPlan,
  name: string,
  methods: readonly AnyMergeMethod[],
  symbolOf: (index: number) => string,
): string {
  const method = methods.find((each) => each.name === name);
  const terms: FormulaTerms = {
    base: base === undefined ? undefined : "base",
    models: inputs.map((input, index) => ({ name: symbolOf(index), options: input.options })),
    options,
  };
  return method?.formula?.(terms) ?? method?.summary ?? name;
}

function spelled(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [recipeSpelling(name), value]));
}

import type { TensorInfo } from "@loomweight/checkpoint";
import { type DType, isFloat, LoomweightError, shapeMismatch } from "@loomweight/tensor";
import { outputDType } from "../output-dtype.ts";
import { type Parameters, resolveOptions } from "../recipe/parameters.ts";
import type { Recipe } from "../recipe/recipe.ts";
import type { TensorInput, TensorPlan, TensorReference } from "./plan.ts";
import type { OutsideRole } from "./roles.ts";

/** One output tensor before it is planned: who might take part in it, under which parameters. */
export interface TensorSlot {
  readonly name: string;
  /** Of its layer within the slice, 0 to 1; 0 outside the layers. */
  readonly position: number;
  readonly role: OutsideRole | "layer";
  readonly parameters: Parameters;
  /** Key of the base model. */
  readonly base: string | undefined;
  readonly inputs: readonly SlotInput[];
}

export interface SlotInput {
  /** Index of the model. */
  readonly model: number;
  readonly key: string;
  /** Undefined: the model does not have this tensor. */
  readonly info: TensorInfo | undefined;
  readonly parameters: Parameters;
}

type PresentInput = SlotInput & { readonly info: TensorInfo };

/** Non-trained buffers that some versions of a model store and others do not. */
const bufferPattern = /(?:rotary_emb\.inv_freq|\.masked_bias|position_ids|attn\.bias)$/;

/** Plans one tensor; undefined where it is a buffer that not all inputs store. */
export function planTensor(recipe: Recipe, slot: TensorSlot, warnings: string[]): TensorPlan | undefined {
  const inputs = presentInputs(recipe.fillMissing ? filled(slot, warnings) : slot, warnings);
  if (inputs === undefined) return undefined;
  const { needs } = recipe.method;
  const base = needs.base === "ordinary" ? undefined : takeBase(recipe, slot, inputs);
  const donor = base ?? inputs[0];
  const others = inputs.filter((input) => input !== base);
  refuseCounts(recipe, slot, others.length);
  if (!isFloat(donor.info.dtype)) return copyOf(slot, donor);
  const models = sameShapes(recipe, slot, base, others, warnings);
  const shape = models.shape;
  const levels = [slot.parameters, ...recipe.parameters];
  const options = resolveOptions(
    recipe.method.options,
    levels.map(({ method }) => method),
    { name: slot.name, position: slot.position },
    recipe.method.name,
  );
  const planned = models.inputs.map(
    (input): TensorInput => ({
      ...reference(input, shape),
      options: resolveOptions(
        recipe.method.inputOptions,
        [input.parameters, ...levels].map((level) => level.input),
        { name: input.info.name, position: slot.position },
        input.key,
      ),
    }),
  );
  const present = base === undefined ? models.inputs : [base, ...models.inputs];
  const natural = outputDType(
    needs,
    present.map(({ info }) => info.dtype),
  );
  return {
    name: slot.name,
    dtype: recipe.dtype ?? natural,
    shape,
    base: base === undefined ? undefined : reference(base, shape),
    inputs: planned,
    options,
  };
}

/** The slot with the base's tensor in place of those that models lack. */
function filled(slot: TensorSlot, warnings: string[]): TensorSlot {
  const base = slot.inputs.find(({ key }) => key === slot.base);
  if (base?.info === undefined) return slot;
  const lacking = slot.inputs.filter(({ info }) => info === undefined);
  if (lacking.length > 0) {
    warnings.push(`${slot.name}: ${lacking.map(({ key }) => key).join(" and ")} lacks it, the base's is taken`);
  }
  return {
    ...slot,
    inputs: slot.inputs.map((input) =>
      input.info === undefined ? { ...input, model: base.model, info: base.info } : input,
    ),
  };
}

function presentInputs(slot: TensorSlot, warnings: string[]): readonly PresentInput[] | undefined {
  const missing = slot.inputs.filter(({ info }) => info === undefined);
  const present = slot.inputs.filter((input): input is PresentInput => input.info !== undefined);
  if (missing.length === 0) return present;
  if (bufferPattern.test(slot.name)) {
    warnings.push(`buffers that not all models store are left out (${slot.name})`);
    return undefined;
  }
  throw new LoomweightError({
    code: "MISSING_TENSOR",
    problem: `${missing.map(({ key }) => key).join(" and ")} has no such tensor, ${present[0].key} has`,
    tensor: present[0].info.name,
    fix: "Merge models of one architecture.",
  });
}

function takeBase(recipe: Recipe, slot: TensorSlot, inputs: readonly PresentInput[]): PresentInput | undefined {
  const { needs, name } = recipe.method;
  if (slot.base === undefined) {
    if (needs.base === "optional") return undefined;
    throw new LoomweightError({
      code: "MISSING_BASE",
      problem: `${name} needs a base_model`,
      file: recipe.file,
      fix: "Add base_model: with the model that the others were fine-tuned from.",
    });
  }
  const base = inputs.find(({ key }) => key === slot.base);
  if (base !== undefined) return base;
  throw new LoomweightError({
    code: "MISSING_BASE",
    problem: `the base_model ${slot.base} is not among the sources of a slice`,
    tensor: slot.name,
    file: recipe.file,
    fix: "List it as a source of every slice, with its layer_range.",
  });
}

interface AlignedInputs {
  readonly shape: readonly number[];
  readonly inputs: readonly PresentInput[];
}

/** Applies the method's rule for unequal shapes: cut vocabularies, leave out, or refuse. */
function sameShapes(
  recipe: Recipe,
  slot: TensorSlot,
  base: PresentInput | undefined,
  models: readonly PresentInput[],
  warnings: string[],
): AlignedInputs {
  const donor = base ?? models[0];
  const all = base === undefined ? models : [base, ...models];
  const equal = (input: PresentInput) => String(input.info.shape) === String(donor.info.shape);
  if (all.every(equal)) return { shape: donor.info.shape, inputs: models };
  const rule = recipe.method.unequalShapes;
  const isVocabulary =
    (slot.role === "embedding" || slot.role === "head") && all.every(({ info }) => info.shape.length === 2);
  if (isVocabulary && rule === "common") {
    const shape = [0, 1].map((axis) => Math.min(...all.map(({ info }) => info.shape[axis])));
    warnings.push(
      `${slot.name}: cut to the common [${shape}], since vocabularies differ in size (tokenizer_source keeps all tokens)`,
    );
    return { shape, inputs: models };
  }
  if (isVocabulary && rule === "base") {
    const { shape } = donor.info;
    const small = models.find(({ info }) => info.shape.some((size, axis) => size < shape[axis]));
    if (small === undefined) {
      warnings.push(
        `${slot.name}: larger vocabularies are cut to that of the base, [${shape}] (tokenizer_source lines up their tokens)`,
      );
      return { shape, inputs: models };
    }
    throw unlikeShapes(recipe, slot, donor, small);
  }
  if (rule === "base") {
    const inputs = models.filter(equal);
    for (const { key, info } of models) {
      if (!inputs.some((input) => input.key === key)) {
        warnings.push(`${slot.name}: ${key} is left out, its shape [${info.shape}] is not that of the base`);
      }
    }
    return { shape: donor.info.shape, inputs };
  }
  throw unlikeShapes(recipe, slot, donor, all.find((input) => !equal(input)) as PresentInput);
}

function unlikeShapes(recipe: Recipe, slot: TensorSlot, donor: PresentInput, other: PresentInput): LoomweightError {
  return shapeMismatch({
    where: recipe.method.name,
    tensor: slot.name,
    expected: { from: donor.key, shape: donor.info.shape },
    got: { from: other.key, shape: other.info.shape },
    fix: "Merge models of one architecture and vocabulary.",
  });
}

function refuseCounts(recipe: Recipe, slot: TensorSlot, count: number): void {
  const { name, needs } = recipe.method;
  const { min, max = Number.POSITIVE_INFINITY } = needs.models;
  if (count >= min && count <= max) return;
  const beside = needs.base === "ordinary" ? "" : " beside the base";
  throw new LoomweightError({
    code: "MODEL_COUNT",
    problem: `${name} does not merge that many models`,
    expected:
      max === Number.POSITIVE_INFINITY
        ? `at least ${min}${beside}`
        : min === max
          ? `${min}${beside}`
          : `${min} to ${max}${beside}`,
    found: `${count}${beside} (${slot.inputs.map(({ key }) => key).join(", ")})`,
    file: recipe.file,
  });
}

function reference(input: PresentInput, shape: readonly number[]): TensorReference {
  const cut = String(input.info.shape) === String(shape) ? undefined : shape;
  return { model: input.model, tensor: input.info.name, ...(cut && { cut }) };
}

/** Whole numbers and packed codes are no weights: they are taken from the base, else from the first model. */
function copyOf(slot: TensorSlot, donor: PresentInput): TensorPlan {
  return { ...copyTensor(donor.info, donor.model), name: slot.name };
}

/** A tensor taken from model `model` as it is, but for `dtype` where weights are to have another. */
export function copyTensor({ name, dtype, shape }: TensorInfo, model: number, converted?: DType): TensorPlan {
  return {
    name,
    dtype: isFloat(dtype) ? (converted ?? dtype) : dtype,
    shape,
    copy: { model, tensor: name },
    inputs: [],
    options: {},
  };
}

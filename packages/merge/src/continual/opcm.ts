import {
  boolean,
  fromFloat64,
  isFloat,
  LoomweightError,
  nonNegative,
  type OptionValues,
  parseOptions,
  type Tensor,
  toFloat64,
  unitInterval,
} from "@loomweight/tensor";
import { projectTaskVector } from "./project-task-vector.ts";

const options = {
  alpha: unitInterval(0.5, "share of the sum of singular values whose directions are protected; below 1"),
  zeroDiagonal: boolean(
    true,
    "takes out what lies along pairs of singular directions; false as the paper's own code did",
  ),
  rankTolerance: nonNegative(1e-6, "singular values of at most this share of the largest count as 0"),
};

export type OpcmOptions = Partial<OptionValues<typeof options>>;

/**
 * What is kept of the models merged so far, whatever their number. Plain data: save the tensors and the two numbers,
 * and go on later.
 */
export interface OpcmState {
  /** Σ of projected task vectors, unscaled, float64, by parameter. */
  readonly sum: ReadonlyMap<string, Tensor<"float64">>;
  /** Models merged. */
  readonly count: number;
  /** Mean of the norms of their task vectors. */
  readonly meanNorm: number;
}

/** A model's tensors by name. */
export type ModelTensors = ReadonlyMap<string, Tensor>;

/** Which parameters are weights of linear layers, [out, in]; the others are added as they are. */
export type IsLinear = (name: string, shape: readonly number[]) => boolean;

/** Matrices named `….weight` that are no embeddings. */
export const isLinearWeight: IsLinear = (name, shape) =>
  shape.length === 2 &&
  /(^|\.)weight$/.test(name) &&
  !/(^|[._])(emb|embed|embeds|embeddings?|embed_tokens|wte|wpe|shared)\.weight$/.test(name);

export interface OpcmStep {
  readonly state: OpcmState;
  /** λ: the merged task vector is the sum divided by it. */
  readonly lambda: number;
  /** Directions protected, by linear weight. */
  readonly splitRanks: ReadonlyMap<string, number>;
}

/**
 * OPCM: merges fine-tuned models one at a time as they arrive, with neither data nor the earlier models. A new task
 * vector is projected off what the merged one already uses (`projectTaskVector`, linear weights) and added; the sum is
 * scaled so that the merged task vector has the mean norm of all task vectors. float64.
 * Source: Tang et al. 2025, arXiv:2501.09522, Algorithm 1.
 * Differs: the unscaled sum is kept (λ M of the paper's step is exactly it), so that a step never rescales; a weight no
 * earlier model changed takes the new task vector whole, and directions beyond the numerical rank are left alone, where
 * the authors' code removes arbitrary entries; float buffers and parameters outside of layers are merged like any other.
 * Throws `INVALID_OPTION`, `MODEL_MISMATCH` naming the tensor.
 */
export function opcmStep(
  base: ModelTensors,
  model: ModelTensors,
  state?: OpcmState,
  given: OpcmOptions & { readonly isLinear?: IsLinear } = {},
): OpcmStep {
  const { isLinear = isLinearWeight, ...rest } = given;
  const values = checkedOptions(rest);
  checkNames(base, model);
  const sum = new Map<string, Tensor<"float64">>();
  const splitRanks = new Map<string, number>();
  let squares = 0;
  for (const [name, start] of base) {
    if (!isFloat(start.dtype)) continue;
    const tau = taskVectorOf(name, start, model.get(name) as Tensor);
    squares += squaredNorm(tau);
    const before = state?.sum.get(name);
    const next = opcmTensor(tau, before, values, isLinear(name, start.shape));
    if (next.splitRank !== undefined) splitRanks.set(name, next.splitRank);
    sum.set(name, next.sum);
  }
  const count = (state?.count ?? 0) + 1;
  const meanNorm = ((state?.meanNorm ?? 0) * (count - 1) + Math.sqrt(squares)) / count;
  const after = { sum, count, meanNorm };
  return { state: after, lambda: opcmLambda(after), splitRanks };
}

/** One tensor of a step: the new sum, from the new task vector and the sum before (absent for the first model). */
export function opcmTensor(
  taskVector: Tensor<"float64">,
  before: Tensor<"float64"> | undefined,
  values: OptionValues<typeof options>,
  linear: boolean,
): { readonly sum: Tensor<"float64">; readonly splitRank?: number } {
  if (before === undefined) return { sum: taskVector };
  if (!linear) return { sum: plus(before, taskVector) };
  const { projected, splitRank } = projectTaskVector(before, taskVector, values);
  return { sum: plus(before, projected), splitRank };
}

/** λ = ‖sum‖ / meanNorm; 1 where nothing was changed yet. */
export function opcmLambda({ sum, meanNorm }: OpcmState): number {
  let squares = 0;
  for (const tensor of sum.values()) squares += squaredNorm(tensor);
  return meanNorm === 0 ? 1 : Math.sqrt(squares) / meanNorm;
}

/** The merged model: base + sum / λ, each tensor in the base's dtype; what is no float is the base's. */
export function opcmMerged(base: ModelTensors, state: OpcmState): Map<string, Tensor> {
  const lambda = opcmLambda(state);
  return new Map(
    [...base].map(([name, tensor]) => {
      const own = state.sum.get(name);
      if (own === undefined) return [name, tensor];
      const added = toFloat64(own);
      const merged = toFloat64(tensor).map((value, i) => value + added[i] / lambda);
      return [name, fromFloat64(merged, tensor.shape, tensor.dtype)];
    }),
  );
}

export function checkedOptions(given: OpcmOptions): OptionValues<typeof options> {
  const values = parseOptions(options, given, "opcm");
  if (values.alpha < 1) return values;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    option: "opcm.alpha",
    expected: "a number from 0 to below 1; at 1 rounding alone decides what is protected",
    found: `${values.alpha}`,
  });
}

export function taskVectorOf(name: string, base: Tensor, model: Tensor): Tensor<"float64"> {
  if (`${base.shape}` !== `${model.shape}` || !isFloat(model.dtype)) {
    throw mismatch(name, `${base.dtype} [${base.shape}]`, `${model.dtype} [${model.shape}]`);
  }
  const from = toFloat64(base);
  return fromFloat64(
    toFloat64(model).map((value, i) => value - from[i]),
    base.shape,
  );
}

export function squaredNorm({ data }: Tensor<"float64">): number {
  let squares = 0;
  for (const value of data) squares += value * value;
  return squares;
}

function plus(a: Tensor<"float64">, b: Tensor<"float64">): Tensor<"float64"> {
  const other = toFloat64(b);
  return fromFloat64(
    toFloat64(a).map((value, i) => value + other[i]),
    a.shape,
  );
}

function checkNames(base: ModelTensors, model: ModelTensors): void {
  for (const [name, { shape }] of base) if (!model.has(name)) throw mismatch(name, `[${shape}]`, "no such tensor");
  for (const [name, { shape }] of model) if (!base.has(name)) throw mismatch(name, "no such tensor", `[${shape}]`);
}

function mismatch(tensor: string, expected: string, found: string): LoomweightError {
  return new LoomweightError({
    code: "MODEL_MISMATCH",
    problem: "the model does not hold the tensors of the base",
    tensor,
    expected,
    found,
    fix: "Only fine-tunes of the base can be merged into it.",
  });
}

import { add, concat, conv, matMul, mul, reshape, sub, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { solve } from "@loomweight/linalg";
import {
  belowOne,
  boolean,
  cast,
  choice,
  full,
  integer,
  invalidOption,
  type OptionValues,
  positive,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import { type AdapterRandom, defineAdapter, type LayerInGraph, type ParamShape } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { hydraFields } from "../peft/fields.ts";

const options = {
  parallelRank: integer(2, "rank of the branch that reads the layer's input", { min: 0 }),
  sequentialRank: integer(2, "rank of the branch that reads the layer's output", { min: 0 }),
  scale: positive(1, "both branches are multiplied by this; with learnableScale trained, one number each, from 1"),
  learnableScale: boolean(false, "train the scales"),
  branchBias: boolean(true, "both linears of both branches have a bias, as in the vision code"),
  init: choice(
    ["xavier", "normal", "kaiming"],
    "xavier",
    "draws of the down matrices: Xavier uniform, normal 0.02, or uniform in ±1/√in",
  ),
  dropout: belowOne(0, "share of the numbers between down and up dropped in training"),
};
/** Options of `hydra`, checked. */
export type HydraOptions = OptionValues<typeof options>;

const branches = ["par", "seq"] as const;
type Branch = (typeof branches)[number];
type HydraName = `${Branch}${"Down" | "DownBias" | "Up" | "UpBias" | "Scale"}`;
export type HydraParams<V extends Value = Value> = Readonly<Partial<Record<HydraName, V>>>;

/** Drops entries in training; the branch tells the masks apart. */
export type HydraDropout = (hidden: Value, branch: Branch) => Value;

/**
 * Hydra: two linear branches beside a layer f(x) = W x + b, W [out, in]:
 * y = f + s · (Up_p(Down_p x + a_p) + c_p) + s · (Up_s(Down_s f + a_s) + c_s), Down_p [r_p, in], Down_s [r_s, out], Ups [out, r].
 * W′ = W + s · (Up_p Down_p + Up_s Down_s W); b′ = b + s · Up_s (Down_s b + a_s) + s · (Up_p a_p + c_p + c_s).
 * A convolution's parallel branch has its kernel, everything else is 1×1.
 * Source: Kim et al. 2023, arXiv:2309.06922; extremebird/Hydra at 4138457 (its attention merge is not reproduced: it stops).
 */
export const hydra = defineAdapter({
  name: "hydra",
  source: "arXiv:2309.06922",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "convolution"],
  options,
  params: (layer, given): { readonly [K in HydraName]?: ParamShape } => {
    checkRanks(layer, given);
    return Object.assign(
      {},
      ...branchesOf(given).map(({ branch, rank }) => ({
        [`${branch}Down`]: [rank, branch === "par" ? "in" : "out"],
        [`${branch}Up`]: ["out", rank],
        ...(given.branchBias ? { [`${branch}DownBias`]: [rank], [`${branch}UpBias`]: ["out"] } : {}),
        ...(given.learnableScale ? { [`${branch}Scale`]: [1] } : {}),
      })),
    );
  },
  init: (layer, given, { random }) =>
    Object.assign(
      {},
      ...branchesOf(given).map(({ branch, rank }) => ({
        [`${branch}Down`]: drawDown(random, `${branch}Down`, rank, branch === "par" ? layer.in : layer.out, given),
        [`${branch}Up`]: zeros([layer.out, rank]), // zero, so training starts at the base model
        ...(given.branchBias ? { [`${branch}DownBias`]: zeros([rank]), [`${branch}UpBias`]: zeros([layer.out]) } : {}),
        ...(given.learnableScale ? { [`${branch}Scale`]: full([1], 1) } : {}),
      })),
    ),
  apply: (layer, params, x, given) => hydraForward(layer, params, x, given),
  weight: (layer, params, given) => hydraWeight(layer.weight, params, given),
  bias: {
    needs: [],
    missingFor: ({ branchBias }) => (branchBias ? "refuse" : "skip"), // S · 0 is 0; a bias of the branches needs a place
    change: (bias, _layer, params, given) => hydraBias(bias, params, given) as Value,
  },
  original: (layer, params, given) => originalWeight(layer.weight as Tensor, params as HydraParams<Tensor>, given),
  tiling: () => ({ in: 1 }), // the sequential branch mixes the outputs
  files: {
    peftTypes: ["HYDRA"],
    fields: hydraFields,
    optionFields: {
      parallelRank: "r_parallel",
      sequentialRank: "r_sequential",
      scale: "scale",
      learnableScale: "learnable_scale",
      branchBias: "branch_bias",
      init: "init_weights",
      dropout: "hydra_dropout",
    },
    suffixes: Object.fromEntries(
      branches.flatMap((branch) => [
        [`hydra_${branch}.down_proj.weight`, { param: `${branch}Down` }],
        [`hydra_${branch}.down_proj.bias`, { param: `${branch}DownBias` }],
        [`hydra_${branch}.up_proj.weight`, { param: `${branch}Up` }],
        [`hydra_${branch}.up_proj.bias`, { param: `${branch}UpBias` }],
        [`hydra_${branch}.scale`, { param: `${branch}Scale` }],
      ]),
    ) as Record<string, { param: HydraName }>,
    biasOfAdapted: ["hydra_only"],
  },
});

function branchesOf({ parallelRank, sequentialRank }: HydraOptions): { branch: Branch; rank: number }[] {
  return [
    { branch: "par" as const, rank: parallelRank },
    { branch: "seq" as const, rank: sequentialRank },
  ].filter(({ rank }) => rank > 0);
}

function checkRanks(layer: LayerShape, { parallelRank, sequentialRank }: HydraOptions): void {
  if (parallelRank === 0 && sequentialRank === 0) {
    throw invalidOption({ option: "hydra.parallelRank" }, 0, "a rank above 0 for one of the two branches");
  }
  const most = Math.min(layer.in, layer.out);
  if (parallelRank > most)
    throw invalidOption(
      { option: "hydra.parallelRank" },
      parallelRank,
      `at most ${most}, the smaller side of the layer`,
    );
  if (sequentialRank > layer.out)
    throw invalidOption(
      { option: "hydra.sequentialRank" },
      sequentialRank,
      `at most ${layer.out}, the layer's outputs`,
    );
}

function drawDown(random: AdapterRandom, name: string, rank: number, size: number, { init }: HydraOptions): Tensor {
  if (init === "normal") return random.normal(name, [rank, size], 0.02);
  const bound = init === "xavier" ? Math.sqrt(6 / (rank + size)) : 1 / Math.sqrt(size);
  return random.uniform(name, [rank, size], -bound, bound);
}

const scaleOf = (params: HydraParams, branch: Branch, { scale }: HydraOptions): Value | number =>
  params[`${branch}Scale`] ?? scale;

/** The layer's output with both branches; `drop` sits between down and up. */
export function hydraForward(
  layer: LayerInGraph,
  params: HydraParams,
  x: Value,
  given: HydraOptions,
  drop: HydraDropout = (hidden) => hidden,
): Value {
  const f = layer.forward(x);
  const along = (branch: Branch, from: Value): Value | undefined => {
    const [down, up] = [params[`${branch}Down`], params[`${branch}Up`]];
    if (down === undefined || up === undefined) return undefined;
    const [downBias, upBias] = [params[`${branch}DownBias`], params[`${branch}UpBias`]];
    if (layer.kind !== "convolution") {
      return linearOf(drop(linearOf(from, down, downBias), branch), up, upBias);
    }
    const spatial = layer.storedShape.slice(2).map(() => 1);
    const rank = Number(down.shape[0]);
    const perRank = (vector: Value) => reshape(vector, [1, rank, ...spatial]);
    const narrow =
      branch === "par"
        ? layer.operation(from, reshape(down, [rank, ...layer.storedShape.slice(1)]))
        : conv(from, reshape(down, [rank, layer.out, ...spatial]));
    const hidden = drop(downBias === undefined ? narrow : add(narrow, perRank(downBias)), branch);
    const wide = conv(hidden, reshape(up, [layer.out, rank, ...spatial]));
    return upBias === undefined ? wide : add(wide, layer.perOutput(upBias));
  };
  let y = f;
  for (const [branch, from] of [
    ["par", x],
    ["seq", f],
  ] as const) {
    const change = along(branch, from);
    if (change !== undefined) y = add(y, mul(change, scaleOf(params, branch, given)));
  }
  return y;
}

/** W + s · Up_p Down_p + s · Up_s (Down_s W), [out, in]; Up_s Down_s is never formed. */
function hydraWeight(weight: Value, params: HydraParams, given: HydraOptions): Value {
  const { parDown, parUp, seqDown, seqUp } = params;
  let sum = weight;
  if (parDown !== undefined && parUp !== undefined)
    sum = add(sum, matMul(mul(parUp, scaleOf(params, "par", given)), parDown));
  if (seqDown === undefined || seqUp === undefined) return sum;
  return add(sum, matMul(mul(seqUp, scaleOf(params, "seq", given)), matMul(seqDown, weight)));
}

/** b′ [out] of b, which may be absent; undefined where there is nothing to add and no bias. */
function hydraBias(bias: Value | undefined, params: HydraParams, given: HydraOptions): Value | undefined {
  const { parUp, parDownBias, parUpBias, seqDown, seqUp, seqDownBias, seqUpBias } = params;
  const column = (vector: Value) => reshape(vector, [-1, 1]);
  const times = (matrix: Value, vector: Value) => reshape(matMul(matrix, column(vector)), [-1]);
  const parts: Value[] = [];
  if (parUp !== undefined && parDownBias !== undefined && parUpBias !== undefined) {
    parts.push(mul(add(times(parUp, parDownBias), parUpBias), scaleOf(params, "par", given)));
  }
  if (seqDown !== undefined && seqUp !== undefined) {
    const read = bias === undefined ? undefined : times(seqDown, bias);
    const narrow = read === undefined ? seqDownBias : seqDownBias === undefined ? read : add(read, seqDownBias);
    if (narrow !== undefined) {
      const wide = times(seqUp, narrow);
      parts.push(mul(seqUpBias === undefined ? wide : add(wide, seqUpBias), scaleOf(params, "seq", given)));
    }
  }
  return parts.reduce<Value | undefined>((sum, part) => (sum === undefined ? part : add(sum, part)), bias);
}

/** A linear layer's tensors. */
export interface LinearTensors<V extends Value = Value> {
  /** [out, in] */
  readonly weight: V;
  /** [out] */
  readonly bias?: V;
}

/** The layer with both branches inside; a bias appears where the branches have one. No cost is left at inference. */
export function mergeHydra<V extends Value>(
  base: LinearTensors<V>,
  params: HydraParams<V>,
  given: HydraOptions,
): LinearTensors<V> {
  const bias = hydraBias(base.bias, params, given) as V | undefined;
  return { weight: hydraWeight(base.weight, params, given) as V, ...(bias === undefined ? {} : { bias }) };
}

/**
 * The layer before `mergeHydra`: (I + s Up_s Down_s)⁻¹ (W′ − s Up_p Down_p) by an inverse of size r_s only, and the bias
 * likewise. Throws `SINGULAR_MATRIX` where that inverse does not exist. Our extension: the published code has none.
 */
export function unmergeHydra(
  merged: LinearTensors<Tensor>,
  params: HydraParams<Tensor>,
  given: HydraOptions,
): LinearTensors<Tensor> {
  const weight = originalWeight(merged.weight, params, given);
  if (merged.bias === undefined) return { weight };
  const added = hydraBias(mul(merged.bias, 0), params, given) as Value;
  const [size] = merged.bias.shape;
  const bias = undoSequential(reshape(sub(merged.bias, added), [size, 1]) as Tensor, params, given);
  return { weight, bias: reshape(bias, [size]) as Tensor };
}

function originalWeight(merged: Tensor, params: HydraParams<Tensor>, given: HydraOptions): Tensor {
  const { parDown, parUp } = params;
  const rest =
    parDown === undefined || parUp === undefined
      ? merged
      : (sub(merged, matMul(mul(parUp, scaleOf(params, "par", given)), parDown)) as Tensor);
  return undoSequential(rest, params, given);
}

/** (I + U D)⁻¹ M = M − U (I + D U)⁻¹ D M, U = s · Up_s [out, r], D = Down_s [r, out]. */
function undoSequential(m: Tensor, params: HydraParams<Tensor>, given: HydraOptions): Tensor {
  const { seqDown, seqUp } = params;
  if (seqDown === undefined || seqUp === undefined) return m;
  const up = mul(seqUp, scaleOf(params, "seq", given)) as Tensor;
  const [rank] = seqDown.shape;
  const identity = full([rank, rank], 0, "float64");
  for (let i = 0; i < rank; i++) (identity.data as Float64Array)[i * rank + i] = 1;
  const small = add(identity, matMul(cast(seqDown, "float64"), cast(up, "float64"))) as Tensor;
  const inner = solve(small, matMul(seqDown, m) as Tensor);
  return sub(m, matMul(up, cast(inner as Tensor, m.dtype))) as Tensor;
}

/**
 * The same change as a LoRA of rank r_p + r_s with scaling 1, exactly: A = [Down_p; Down_s W], B = [s · Up_p, s · Up_s],
 * and what is added to the bias, where anything is.
 */
export function hydraToLora<V extends Value>(
  base: LinearTensors<V>,
  params: HydraParams<V>,
  given: HydraOptions,
): { A: V; B: V; biasDelta?: V } {
  const { parDown, parUp, seqDown, seqUp } = params;
  const down: Value[] = [];
  const up: Value[] = [];
  if (parDown !== undefined && parUp !== undefined) {
    down.push(parDown);
    up.push(mul(parUp, scaleOf(params, "par", given)));
  }
  if (seqDown !== undefined && seqUp !== undefined) {
    down.push(matMul(seqDown, base.weight));
    up.push(mul(seqUp, scaleOf(params, "seq", given)));
  }
  const bias = hydraBias(base.bias, params, given);
  const delta = bias === undefined || base.bias === undefined ? bias : sub(bias, base.bias);
  return {
    A: concat(down, 0) as V,
    B: concat(up, 1) as V,
    ...(delta === undefined ? {} : { biasDelta: delta as V }),
  };
}

/** Where the published code's three variants keep a branch, and of which layer it is. */
const layouts: readonly { readonly key: RegExp; layer(match: RegExpExecArray): string }[] = [
  { key: /^(.*)\.mlp\.hydra_mlp_(par|seq)\.(.*)$/, layer: ([, path]) => `${path}.mlp.fc2` },
  { key: /^(.*)\.attn\.hydra_proj_(par|seq)\.(.*)$/, layer: ([, path]) => `${path}.attn.proj` },
  { key: /^(.*\.mlp)\.ad_lin\.adapter_(par|seq)\.(.*)$/, layer: ([, path]) => `${path}.c_proj` },
  { key: /^(.*\.output)\.hydra_(par|seq)\.(.*)$/, layer: ([, path]) => `${path}.dense` },
];
const publishedParams: Readonly<Record<string, string>> = {
  "down_proj.weight": "Down",
  "down_proj.bias": "DownBias",
  "up_proj.weight": "Up",
  "up_proj.bias": "UpBias",
  scale: "Scale",
  "hydra_A.weight": "Down",
  "hydra_B.weight": "Up",
};

/**
 * Parameters by the layer's path from the names of the published checkpoints (VTAB, ELEVATER, GLUE). Names of anything
 * else (the head, the base) are left out. Their scale is in no file: it is an option.
 */
export function hydraFromPublished(tensors: ReadonlyMap<string, Tensor>): Map<string, HydraParams<Tensor>> {
  const found = new Map<string, Record<string, Tensor>>();
  for (const [key, tensor] of tensors) {
    for (const { key: pattern, layer } of layouts) {
      const match = pattern.exec(key);
      const name = match === null ? undefined : publishedParams[match[3]];
      if (match === null || name === undefined) continue;
      const path = layer(match);
      found.set(path, { ...found.get(path), [`${match[2]}${name}`]: tensor });
    }
  }
  return found as Map<string, HydraParams<Tensor>>;
}

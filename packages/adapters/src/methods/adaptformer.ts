import { add, concat, div, matMul, mul, reshape, split, sqrt, sub, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import {
  belowOne,
  boolean,
  choice,
  full,
  integer,
  invalidOption,
  type OptionValues,
  positive,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import type { Params } from "../define.ts";
import { type BlockInGraph, defineBlockAdapter } from "../define-block.ts";
import {
  type Activation,
  activate,
  type Bottleneck,
  type BottleneckName,
  bottleneck,
  bottleneckShapes,
  foldIntoUp,
  kaimingBottleneck,
  normOf,
} from "../maths/bottleneck.ts";

const options = {
  bottleneck: integer(64, "numbers between down and up", { min: 1 }),
  scale: positive(0.1, "the branch is multiplied by this; with learnableScale a trained number that starts at 1"),
  learnableScale: boolean(false, "train the scale, one number per site"),
  placement: choice(["parallel", "sequential"], "parallel", "beside the MLP, or after it with a skip of its own"),
  input: choice(
    ["residual", "module", "ownNorm"],
    "residual",
    "what a parallel branch reads: the residual stream, what the MLP reads (behind norm2), or the stream behind a norm of its own",
  ),
  outputNorm: boolean(false, "a LayerNorm after the branch; it cancels the scale and blows up the first gradients"),
  dropout: belowOne(0.1, "share of the hidden numbers dropped in training, after the ReLU"),
};
/** Options of `adaptFormer`, checked. */
export type AdaptFormerOptions = OptionValues<typeof options>;

/** PyTorch's LayerNorm; the ViT's own norms have 1e-6. */
const normEpsilon = 1e-5;

/**
 * AdaptFormer: beside the frozen MLP of a transformer block a branch s · up( drop( ReLU( down(u) ) ) ), down [r, d],
 * up [d, r]. parallel: m′ = m + branch(u), u the residual stream h [.., d] (default), or what the MLP reads, or LN(h).
 * sequential: m′ = m + branch(m). The block then adds m′ to h. Dropout and drop path of the MLP leave the branch alone.
 * Source: Chen et al. 2022, arXiv:2205.13535; ShoufaChen/AdaptFormer at 6967d67 (the paper's formula normalises u, its code
 * does not: follows the code).
 */
export const adaptFormer = defineBlockAdapter({
  name: "adaptformer",
  source: "arXiv:2205.13535",
  scope: "block",
  options,
  params: ({ in: width, out, path }, given): { readonly [K in AdaptFormerName]?: readonly number[] } => {
    checkOptions(given, width, out, path);
    return {
      ...bottleneckShapes(out, given.bottleneck),
      ...(given.learnableScale ? { scale: [1] } : {}),
      ...(hasNorm(given) ? { normWeight: [out], normBias: [out] } : {}),
    };
  },
  init: ({ out }, given, { random }) => ({
    ...kaimingBottleneck(random, out, given.bottleneck),
    ...(given.learnableScale ? { scale: full([1], 1) } : {}),
    ...(hasNorm(given) ? { normWeight: full([out], 1), normBias: zeros([out]) } : {}),
  }),
  apply: (site, params, given) => add(site.output, branch(site, params, given)),
});

type AdaptFormerName = BottleneckName | "scale" | "normWeight" | "normBias";

function branch(site: BlockInGraph, params: Params, given: AdaptFormerOptions): Value {
  const { normWeight, normBias } = params;
  const read =
    given.placement === "sequential"
      ? site.output
      : given.input === "module"
        ? site.input
        : (site.residual ?? noResidual(site));
  const u = given.input === "ownNorm" ? normOf(read, normWeight, normBias, normEpsilon) : read;
  const drop = (hidden: Value) => site.dropout?.(hidden, "hidden", given.dropout) ?? hidden;
  const wide = bottleneck(u, params as unknown as Bottleneck, "relu", drop);
  const scaled = mul(wide, params.scale ?? given.scale);
  return given.outputNorm ? normOf(scaled, normWeight, normBias, normEpsilon) : scaled;
}

function hasNorm({ input, outputNorm }: AdaptFormerOptions): boolean {
  return outputNorm || input === "ownNorm";
}

function checkOptions(given: AdaptFormerOptions, width: number, out: number, path: string): void {
  if (given.outputNorm && given.input === "ownNorm") {
    throw invalidOption(
      { option: "adaptformer.outputNorm" },
      true,
      'false where input is "ownNorm": there is one norm',
    );
  }
  if (given.placement === "sequential" && given.input === "module") {
    throw invalidOption(
      { option: "adaptformer.input" },
      "module",
      "residual or ownNorm: a sequential branch reads the MLP's output",
    );
  }
  if (width !== out) {
    throw invalidOption(
      { option: "adaptformer.targets" },
      path,
      `modules as wide at the end as at the start, not ${width} to ${out}`,
    );
  }
}

function noResidual(site: BlockInGraph): never {
  throw invalidOption(
    { option: "adaptformer.input" },
    "residual",
    `"module" at "${site.path}", whose output is not added to anything`,
    "Choose the MLP of a block with a residual, or set input to module.",
  );
}

/** The branch with its scale, given or trained, inside the up-projection; the fixed scale of the result is 1. Not with outputNorm, whose result it would not change but for ε. */
export function foldAdaptFormerScale<V extends Value>(
  params: Bottleneck<V> & { readonly scale?: V },
  scale: number,
): Bottleneck<V> {
  const { scale: trained, ...rest } = params;
  return foldIntoUp(rest, trained ?? scale);
}

/** An MLP fc2( act( fc1(x) ) ) with weights [hidden, width], [width, hidden]. */
export interface MlpTensors<V extends Value = Value> {
  readonly fc1: { readonly weight: V; readonly bias: V };
  readonly fc2: { readonly weight: V; readonly bias: V };
}

/**
 * MLP and branch as one wider MLP, exact for input "module": fc1 rows [W1; down], fc2 columns [W2, s · up], bias
 * b2 + s · upBias. Run it with `wideMlp`: the last `bottleneck` hidden numbers take ReLU.
 */
export function fuseIntoMlp<V extends Value>(
  mlp: MlpTensors<V>,
  tensors: Bottleneck<V>,
  scale: V | number,
): MlpTensors<V> {
  const { down, downBias, up, upBias } = foldIntoUp(tensors, scale);
  return {
    fc1: {
      weight: concat([mlp.fc1.weight, down], 0) as V,
      bias: concat([mlp.fc1.bias, downBias], 0) as V,
    },
    fc2: { weight: concat([mlp.fc2.weight, up], 1) as V, bias: add(mlp.fc2.bias, upBias) as V },
  };
}

/** What `fuseIntoMlp` gives, on x [.., width]: the first `hidden` numbers take the MLP's activation, the rest ReLU. */
export function wideMlp(x: Value, { fc1, fc2 }: MlpTensors, hidden: number, activation: Activation): Value {
  const z = linearOf(x, fc1.weight, fc1.bias);
  const [own, added] = split(z, [hidden, Number(fc1.weight.shape[0]) - hidden], -1);
  return linearOf(concat([activate(own, activation), activate(added, "relu")], -1), fc2.weight, fc2.bias);
}

/**
 * The official head, BatchNorm without weights then Linear [classes, d], as one Linear for inference:
 * W′ = W / √(variance + ε), b′ = b − W′ · mean. mean and variance are the running ones [d].
 */
export function foldHeadBatchNorm<V extends Value>(
  norm: { readonly mean: V; readonly variance: V; readonly epsilon?: number },
  head: { readonly weight: V; readonly bias: V },
): { weight: V; bias: V } {
  const width = Number(norm.mean.shape[0]);
  const weight = div(head.weight, sqrt(add(norm.variance, norm.epsilon ?? 1e-6)));
  const shift = reshape(matMul(weight, reshape(norm.mean, [width, 1])), [-1]);
  return { weight: weight as V, bias: sub(head.bias, shift) as V };
}

export type AdaptFormerTensors = Bottleneck<Tensor> & {
  readonly scale?: Tensor;
  readonly normWeight?: Tensor;
  readonly normBias?: Tensor;
};

import { add, concat, gather, matMul, relu, reshape, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import {
  boolean,
  full,
  integer,
  invalidOption,
  type OptionValues,
  positive,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import type { Params } from "../define.ts";
import { type BlockPosition, type BlockShape, defineBlockAdapter } from "../define-block.ts";
import { activationOption, type Bottleneck, bottleneck, normOf } from "../maths/bottleneck.ts";
import { bottleneckSize, taskInput, withNorms } from "./vl-adapter.ts";

const options = {
  reductionFactor: positive(16, "width / this = numbers between down and up, rounded down, at least 1"),
  tasks: integer(2, "how many tasks", { min: 1 }),
  layers: integer(undefined, "how many layers the sites are spread over", { min: 1 }),
  embedding: integer(512, "e: numbers of a task's, a layer's and a position's embedding", { min: 1 }),
  hidden: integer(128, "hidden numbers of the network that mixes the embeddings", { min: 1 }),
  projected: integer(64, "p: numbers that the generators read; the knob of their size", { min: 1 }),
  efficient: boolean(false, "Hyperformer++: one set of generators for all positions, told apart by an embedding"),
  activation: activationOption("geluTanh"),
  normBefore: boolean(false, "a generated LayerNorm before the bottleneck"),
  normAfter: boolean(false, "a generated LayerNorm behind it"),
  zeroUp: boolean(
    true,
    "generators of up start at zero, so that the first outputs are exactly the base's; false: as published",
  ),
};
/** Options of `hyperformer`, checked. */
export type HyperformerOptions = OptionValues<typeof options>;

/** ε of the norm of the projected embedding; that of norms around the adapters is 1e-5. */
const embeddingEpsilon = 1e-6;

const positions: readonly BlockPosition[] = ["feedForward", "selfAttention", "crossAttention"];

/**
 * Hyperformer: the bottleneck of each task, layer and position is generated: v = LN(M₂ relu(M₁ [task; layer (; position)] + m₁) + m₂),
 * weight = reshape(G v + g), bias = K v + k, row-major [out, in]; then y = x + LN_post( up( act( down( LN_pre(x) ) ) ) ).
 * Generators are one set a position, or one set in all (`efficient`). The adapted model has an input `task`, int64 []. A
 * site's layer is its number in its path, its position `feedForward` unless it says otherwise.
 * Source: Mahabadi et al. 2021, arXiv:2106.04489; ylsung/VL_adapter at 545fcbb.
 * Differs: up's generators start at zero by default; the class's generators of norms for a cross-attention that is not there are left out.
 */
export const hyperformer = defineBlockAdapter({
  name: "hyperformer",
  source: "arXiv:2106.04489",
  scope: "block",
  options,
  params: ({ in: width, out, path }): Record<never, readonly number[]> => {
    if (width === out) return {};
    throw invalidOption(
      { option: "hyperformer.targets" },
      path,
      `modules as wide at the end as at the start, not ${width} to ${out}`,
    );
  },
  init: () => ({}),
  shared: (sites, given) => sharedShapes(sites, given),
  initShared: (sites, given, random) =>
    Object.fromEntries(
      Object.entries(sharedShapes(sites, given)).map(([name, shape]): [string, Tensor] => [
        name,
        name.endsWith("Bias") || (given.zeroUp && /\.up(Bias)?\.weight$/.test(name))
          ? zeros(shape)
          : name === "normWeight"
            ? full(shape, 1)
            : random.normal(name, shape, /Embeddings$/.test(name) ? 1 : 0.01),
      ]),
    ),
  inputs: () => taskInput,
  generate: (site, { shared }, inputs, given) => generateAdapter(site, shared, inputs.task ?? 0, given),
  apply: ({ output }, params, { activation }) =>
    withNorms(output, params, (x) => bottleneck(x, params as unknown as Bottleneck, activation)),
});

/** What is generated for a site, and of how many numbers. */
function generated({ out }: BlockShape, given: HyperformerOptions): Record<string, readonly number[]> {
  const r = bottleneckSize(out, given.reductionFactor);
  return {
    down: [r, out],
    downBias: [r],
    up: [out, r],
    upBias: [out],
    ...(given.normBefore ? { preNormWeight: [out], preNormBias: [out] } : {}),
    ...(given.normAfter ? { postNormWeight: [out], postNormBias: [out] } : {}),
  };
}

const positionOf = (site: BlockShape): BlockPosition => site.position ?? "feedForward";
const generatorOf = (site: BlockShape, given: HyperformerOptions) => (given.efficient ? "all" : positionOf(site));

/** Number of the layer in a path: "decoder.layers.3.mlp" is layer 3. Throws `INVALID_OPTION`. */
function layerNumber(site: BlockShape, { layers }: HyperformerOptions): number {
  const found = /(?:^|\.)(\d+)(?:\.|$)/.exec(site.path)?.[1];
  const layer = found === undefined ? site.index : Number(found);
  if (layer < layers) return layer;
  throw invalidOption({ option: "hyperformer.layers" }, layers, `more than ${layer}, the layer of "${site.path}"`);
}

function sharedShapes(sites: readonly BlockShape[], given: HyperformerOptions): Record<string, readonly number[]> {
  const { tasks, layers, embedding, hidden, projected, efficient } = given;
  const shapes: Record<string, readonly number[]> = {
    taskEmbeddings: [tasks, embedding],
    layerEmbeddings: [layers, embedding],
    ...(efficient ? { positionEmbeddings: [positions.length, embedding] } : {}),
    mixWeight: [hidden, (efficient ? 3 : 2) * embedding],
    mixBias: [hidden],
    projectWeight: [projected, hidden],
    projectBias: [projected],
    normWeight: [projected],
    normBias: [projected],
  };
  for (const site of sites) {
    for (const [name, shape] of Object.entries(generated(site, given))) {
      const key = `${generatorOf(site, given)}.${name}`;
      const rows = shape.reduce((product, size) => product * size, 1);
      const known = shapes[`${key}.weight`];
      if (known !== undefined && known[0] !== rows) {
        throw invalidOption(
          { option: "hyperformer.targets" },
          site.path,
          "sites of one width: one set of generators serves them",
        );
      }
      shapes[`${key}.weight`] = [rows, projected];
      shapes[`${key}.weightBias`] = [rows];
    }
  }
  return shapes;
}

/** One task's tensors of a site: at inference for a fixed task a plain adapter. `task`: a number, or a value int64 []. */
export function generateAdapter(
  site: BlockShape,
  shared: Params,
  task: Value | number,
  given: HyperformerOptions,
): Params {
  const parts = [gather(shared.taskEmbeddings, task, 0), gather(shared.layerEmbeddings, layerNumber(site, given), 0)];
  if (given.efficient) parts.push(gather(shared.positionEmbeddings, positions.indexOf(positionOf(site)), 0));
  const embedded = reshape(concat(parts, 0), [1, -1]);
  const mixed = relu(linearOf(embedded, shared.mixWeight, shared.mixBias));
  const v = normOf(
    linearOf(mixed, shared.projectWeight, shared.projectBias),
    shared.normWeight,
    shared.normBias,
    embeddingEpsilon,
  );
  const column = reshape(v, [-1, 1]);
  return Object.fromEntries(
    Object.entries(generated(site, given)).map(([name, shape]) => {
      const key = `${generatorOf(site, given)}.${name}`;
      const flat = add(reshape(matMul(shared[`${key}.weight`], column), [-1]), shared[`${key}.weightBias`]);
      return [name, reshape(flat, shape)];
    }),
  );
}

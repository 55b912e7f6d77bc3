import { add, einsum, matMul, mul, reshape, transpose, type Value } from "@loomweight/graph";
import { createRandom } from "@loomweight/kernels";
import { qr } from "@loomweight/linalg";
import {
  cast,
  choice,
  full,
  integer,
  LoomweightError,
  normal,
  type OptionValues,
  positive,
  type Tensor,
  text,
  zeros,
} from "@loomweight/tensor";
import { defineAdapter, type ParamShape, type Params, type SharedParam } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { readModes } from "../maths/tensor-ring.ts";
import { option } from "../peft/field.ts";

const mostModes = 4;
/** Numbers of a core: 64 MiB in float32. */
const mostCoreElements = 2 ** 24;

const options = {
  modes: integer(2, "modes that balanced factors split each side of the layer into", { min: 1, max: mostModes }),
  modesIn: text("", 'modes of the inputs, such as "64x64"; empty: balanced'),
  modesOut: text("", 'modes of the outputs, such as "64x64"; empty: balanced'),
  ranksIn: text("", 'ranks of the input modes, such as "32x32"; empty: full'),
  ranksOut: text("", 'ranks of the output modes, such as "32x32"; empty: full'),
  scale: positive(1, "the update is scaled by it"),
  initValue: positive(1, "value of the fresh vectors; the first is zero"),
  factorInit: choice(["orthonormal", "gaussian"], "orthonormal", "law of the frozen factors"),
  seed: integer(0, "seed of the frozen tensors", { min: 0 }),
};
type TeraOptions = OptionValues<typeof options>;

/**
 * TeRA: W′ = W + scale · (⊗ U_k diag(d_k)) G (⊗ V_k diag(e_k))ᵀ for W [out, in]: a random Tucker network, frozen and the
 * same for all layers of one shape, of which each layer trains only the short vectors d_k [rank of an output mode] and
 * e_k [rank of an input mode]. U_k [mode, rank], V_k [mode, rank], G [Π output ranks, Π input ranks]; row-major modes.
 * Full ranks give an update of full rank. Forward: mode by mode, no update is formed.
 * Source: Gu et al. 2025, arXiv:2509.03234, of which only the abstract was at hand: a design with its properties
 * (frozen shared network, trained diagonals, rank apart from the number of parameters), the rest a reconstruction.
 */
export const tera = defineAdapter({
  name: "tera",
  source: "arXiv:2509.03234",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, given) => {
    const { ranksOut, ranksIn } = networkOf(layer, given);
    return { ...vectors("d", ranksOut), ...vectors("e", ranksIn) };
  },
  frozen: ["core", ...numbered("U"), ...numbered("V")],
  shared: (layers, given) => {
    const made: Record<string, Tensor> = {};
    for (const layer of layers.values()) Object.assign(made, made[coreKey(layer, given)] ? {} : draw(layer, given));
    return made;
  },
  sharedParams: (layer, given) => {
    const network = networkOf(layer, given);
    const key = keyOf(layer, given);
    const found: Record<string, SharedParam> = {
      core: { key: coreKey(layer, given), shape: [product(network.ranksOut), product(network.ranksIn)] },
    };
    for (const [k, mode] of network.modesOut.entries())
      found[`U${k}`] = { key: `tera_u.${key}.${k}`, shape: [mode, network.ranksOut[k]] };
    for (const [k, mode] of network.modesIn.entries())
      found[`V${k}`] = { key: `tera_v.${key}.${k}`, shape: [mode, network.ranksIn[k]] };
    return found;
  },
  init: (layer, given) => {
    const { ranksOut, ranksIn } = networkOf(layer, given);
    const fresh: Record<string, Tensor> = {};
    // One zero vector makes the update zero; with two no gradient would pass.
    for (const [k, rank] of ranksOut.entries())
      fresh[`d${k}`] = k === 0 ? zeros([rank]) : full([rank], given.initValue);
    for (const [k, rank] of ranksIn.entries()) fresh[`e${k}`] = full([rank], given.initValue);
    return fresh;
  },
  apply: (layer, params, x, given) => add(layer.forward(x), forwardOf(layer, params, x, given)),
  weight: (layer, params, given) => add(layer.weight, updateOf(layer, params, given)),
  additive: true,
  files: {
    peftTypes: ["TERA"],
    fields: {
      factor_init: option("orthonormal"),
      init_value: option(1, { float: true }),
      modes: option(2),
      modes_in: option(""),
      modes_out: option(""),
      ranks_in: option(""),
      ranks_out: option(""),
      scale: option(1, { float: true }),
      seed: option(0),
    },
    optionFields: {
      factorInit: "factor_init",
      initValue: "init_value",
      modes: "modes",
      modesIn: "modes_in",
      modesOut: "modes_out",
      ranksIn: "ranks_in",
      ranksOut: "ranks_out",
      scale: "scale",
      seed: "seed",
    },
    suffixes: Object.fromEntries(
      Array.from({ length: mostModes }, (_, k) => [
        [`tera_lambda_out.${k}`, { param: `d${k}` }],
        [`tera_lambda_in.${k}`, { param: `e${k}` }],
      ]).flat() as [string, { param: string }][],
    ),
    shared: ["tera_core.*", "tera_u.*", "tera_v.*"],
    biasOfAdapted: ["tera_only"],
  },
});

/** Options of `tera`, checked. */
export type { TeraOptions };

interface Network {
  readonly modesOut: readonly number[];
  readonly modesIn: readonly number[];
  readonly ranksOut: readonly number[];
  readonly ranksIn: readonly number[];
}

function networkOf(layer: LayerShape, given: TeraOptions): Network {
  const modesOut = readModes(given.modesOut, given.modes, layer.out, "tera.modesOut");
  const modesIn = readModes(given.modesIn, given.modes, layer.in, "tera.modesIn");
  const ranksOut = readRanks(given.ranksOut, modesOut, "tera.ranksOut");
  const ranksIn = readRanks(given.ranksIn, modesIn, "tera.ranksIn");
  const size = product(ranksOut) * product(ranksIn);
  if (size <= mostCoreElements && Math.max(modesOut.length, modesIn.length) <= mostModes)
    return { modesOut, modesIn, ranksOut, ranksIn };
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: `the core of a layer [${layer.out}, ${layer.in}] would be too large`,
    option: "tera.ranksOut",
    expected: `at most ${mostCoreElements} numbers and ${mostModes} modes a side`,
    found: `${product(ranksOut)} · ${product(ranksIn)} = ${size}`,
    fix: "Give lower ranks: ranksOut, ranksIn.",
  });
}

function readRanks(given: string, modes: readonly number[], name: string): readonly number[] {
  if (given === "") return modes;
  const ranks = given.split("x").map(Number);
  if (
    ranks.length === modes.length &&
    ranks.every((rank, k) => Number.isSafeInteger(rank) && rank >= 1 && rank <= modes[k])
  )
    return ranks;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "each mode needs a rank, at most its own size",
    option: name,
    expected: `whole numbers up to ${modes.join("x")}`,
    found: `"${given}"`,
  });
}

/** Layers of one shape share one network. */
function keyOf(layer: LayerShape, given: TeraOptions): string {
  const { modesOut, modesIn, ranksOut, ranksIn } = networkOf(layer, given);
  return [modesOut, modesIn, ranksOut, ranksIn].map((sizes) => sizes.join("x")).join("_");
}

function coreKey(layer: LayerShape, given: TeraOptions): string {
  return `tera_core.${keyOf(layer, given)}`;
}

/** The frozen tensors of a shape, the same for the same seed on every platform. */
function draw(layer: LayerShape, given: TeraOptions): Record<string, Tensor> {
  const network = networkOf(layer, given);
  const key = keyOf(layer, given);
  const random = (name: string) => createRandom(given.seed, name);
  const made: Record<string, Tensor> = {
    // Rows of about unit length where every scaling is 1.
    [coreKey(layer, given)]: normal(
      [product(network.ranksOut), product(network.ranksIn)],
      random(coreKey(layer, given)),
      {
        deviation: 1 / Math.sqrt(product(network.ranksIn)),
      },
    ),
  };
  const factors = (name: string, modes: readonly number[], ranks: readonly number[]) => {
    for (const [k, mode] of modes.entries()) {
      const place = `${name}.${key}.${k}`;
      const wide = {
        dtype: "float64",
        deviation: given.factorInit === "gaussian" ? 1 / Math.sqrt(ranks[k]) : 1,
      } as const;
      const drawn = normal([mode, ranks[k]], random(place), wide);
      made[place] = cast(given.factorInit === "gaussian" ? drawn : qr(drawn).q, "float32");
    }
  };
  factors("tera_u", network.modesOut, network.ranksOut);
  factors("tera_v", network.modesIn, network.ranksIn);
  return made;
}

/** The update [out, in]. */
function updateOf(layer: LayerShape, params: Params, given: TeraOptions): Value {
  const { modesOut, modesIn } = networkOf(layer, given);
  const left = kronecker(modesOut.map((_, k) => mul(params[`U${k}`], params[`d${k}`])));
  const right = kronecker(modesIn.map((_, k) => mul(params[`V${k}`], params[`e${k}`])));
  return matMul(matMul(left, mul(params.core, given.scale)), transpose(right, [1, 0]));
}

/** The update times x, mode by mode: contracting the first mode and appending its rank turns the modes round once. */
function forwardOf(layer: LayerShape, params: Params, x: Value, given: TeraOptions): Value {
  const { modesOut, modesIn, ranksOut } = networkOf(layer, given);
  let held = x;
  let width = layer.in;
  for (const [k, mode] of modesIn.entries()) {
    const factor = mul(params[`V${k}`], params[`e${k}`]);
    held = einsum("nik,ir->nkr", reshape(held, [-1, mode, width / mode]), factor);
    width = (width / mode) * Number(factor.shape[1]);
  }
  held = matMul(reshape(held, [-1, width]), transpose(params.core, [1, 0]));
  width = product(ranksOut);
  for (const [k, rank] of ranksOut.entries()) {
    const factor = mul(params[`U${k}`], params[`d${k}`]);
    held = einsum("nrk,or->nko", reshape(held, [-1, rank, width / rank]), factor);
    width = (width / rank) * modesOut[k];
  }
  const batch = x.shape.slice(0, -1).map((size) => (typeof size === "number" ? size : 0));
  return mul(reshape(held, [...batch, layer.out]), given.scale);
}

/** A ⊗ B ⊗ …, matrices. */
function kronecker(matrices: readonly Value[]): Value {
  return matrices.reduce((held, next) => {
    const [rows, columns] = [0, 1].map((axis) => Number(held.shape[axis]) * Number(next.shape[axis]));
    return reshape(einsum("ij,ab->iajb", held, next), [rows, columns]);
  });
}

function vectors(name: string, ranks: readonly number[]): Record<string, ParamShape> {
  return Object.fromEntries(ranks.map((rank, k) => [`${name}${k}`, [rank]]));
}

function numbered(name: string): string[] {
  return Array.from({ length: mostModes }, (_, k) => `${name}${k}`);
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all * size, 1);
}

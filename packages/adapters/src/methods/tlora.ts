import { add, matMul, mul, type Value } from "@loomweight/graph";
import {
  choice,
  finite,
  fromData,
  integer,
  LoomweightError,
  nonNegative,
  type OptionValues,
  type Tensor,
  text,
  toFloat64,
  zeros,
} from "@loomweight/tensor";
import { type AdapterRandom, defineAdapter, type LayerInGraph, type ParamShape, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { applyTransform, readModes, ringMatrix, ringTransform } from "../maths/tensor-ring.ts";
import { kaimingUniform, storedForm } from "../maths/update.ts";
import { option } from "../peft/field.ts";

const mostModes = 4;
const options = {
  modes: integer(2, "modes that balanced factors split each side of the layer into", { min: 1, max: mostModes }),
  modesIn: text("", 'modes of the inputs, such as "64x64"; empty: balanced'),
  modesOut: text("", 'modes of the outputs, such as "64x64"; empty: balanced'),
  rankTransform: integer(2, "ring rank of the transform", { min: 1 }),
  residual: choice(["tr", "lora", "none"], "tr", "what is added: a tensor ring, a LoRA, or nothing"),
  rankResidual: integer(6, "ring rank of the residual, or its LoRA's rank", { min: 1 }),
  alpha: finite(6, "residual lora: scaled by alpha / rankResidual"),
  side: choice(["input", "output"], "input", "whether the transform acts on the layer's inputs or its outputs"),
  init: choice(["zeroSum", "paper"], "zeroSum", "identity with distinct slices, or the paper's equal ones"),
  noise: nonNegative(0.05, "deviation of what tells the slices of zeroSum apart"),
};
type TloraOptions = OptionValues<typeof options>;

/**
 * TLoRA: W′ = W T + Δ for W [out, in] (`side` output: T W + Δ). T is a full-rank transform near the identity held as a
 * ring of small cores A_d [I_d, I_d, rankTransform, rankTransform], Δ a ring of cores B_d [J_d, R, R], C_d [I_d, R, R]
 * (or a LoRA). Row-major modes, Π I_d = in, Π J_d = out.
 * Source: Tao et al. 2025, arXiv:2501.08727; formulas from a description, the authors' code could not be read.
 * Differs: `zeroSum` starts T at the identity with different slices, as equal ones (`paper`) stay equal for ever and a
 * ring rank above 1 then gains nothing. With one mode the mean over diagonal slices is taken out, or T would not be the
 * identity.
 */
export const tlora = defineAdapter({
  name: "tlora",
  source: "arXiv:2501.08727",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, given) => {
    const shapes: Record<string, ParamShape> = {};
    const { rankTransform, rankResidual } = given;
    const [modesIn, modesOut] = [modesOf(layer, given, "in"), modesOf(layer, given, "out")];
    for (const [d, mode] of (given.side === "input" ? modesIn : modesOut).entries())
      shapes[`A${d}`] = [mode, mode, rankTransform, rankTransform];
    if (given.residual === "tr") {
      for (const [d, mode] of modesOut.entries()) shapes[`B${d}`] = [mode, rankResidual, rankResidual];
      for (const [d, mode] of modesIn.entries()) shapes[`C${d}`] = [mode, rankResidual, rankResidual];
    } else if (given.residual === "lora") {
      shapes.loraA = [rankResidual, "in"];
      shapes.loraB = ["out", rankResidual];
    }
    return shapes;
  },
  init: (layer, given, { random }) => {
    const fresh: Record<string, Tensor> = {};
    const modes = modesOf(layer, given, given.side === "input" ? "in" : "out");
    for (const [d, core] of initialTransform(modes, given, random).entries()) fresh[`A${d}`] = core;
    const rank = given.rankResidual;
    if (given.residual === "tr") {
      // The ring with a core of zeros is zero; the others keep the size of what passes through them.
      for (const [d, mode] of modesOf(layer, given, "out").entries()) {
        const shape = [mode, rank, rank];
        fresh[`B${d}`] = d === 0 ? zeros(shape) : random.normal(`B${d}`, shape, 1 / Math.sqrt(rank));
      }
      for (const [d, mode] of modesOf(layer, given, "in").entries())
        fresh[`C${d}`] = random.normal(`C${d}`, [mode, rank, rank], 1 / Math.sqrt(rank));
    } else if (given.residual === "lora") {
      fresh.loraA = kaimingUniform(random, "loraA", [rank, layer.in], layer.in);
      fresh.loraB = zeros([layer.out, rank]);
    }
    return fresh;
  },
  apply: (layer, params, x, given) => {
    const cores = coresOf(params, "A");
    const own = given.side === "input" ? layer.forward(applyTransform(x, cores)) : afterLayer(layer, cores, x);
    const residual = residualOf(params, given);
    return residual === undefined ? own : add(own, layer.operation(x, storedForm(layer, residual)));
  },
  weight: (layer, params, given) => {
    const transform = ringTransform(coresOf(params, "A"));
    const turned = given.side === "input" ? matMul(layer.weight, transform) : matMul(transform, layer.weight);
    const residual = residualOf(params, given);
    return residual === undefined ? turned : add(turned, residual);
  },
  files: {
    peftTypes: ["TLORA"],
    fields: {
      alpha: option(6),
      init_weights: option("zeroSum"),
      modes: option(2),
      modes_in: option(""),
      modes_out: option(""),
      noise: option(0.05),
      r: option(6),
      rank_transform: option(2),
      residual: option("tr"),
      side: option("input"),
    },
    optionFields: {
      alpha: "alpha",
      init: "init_weights",
      modes: "modes",
      modesIn: "modes_in",
      modesOut: "modes_out",
      noise: "noise",
      rankResidual: "r",
      rankTransform: "rank_transform",
      residual: "residual",
      side: "side",
    },
    suffixes: {
      ...numbered("A"),
      ...numbered("B"),
      ...numbered("C"),
      "tlora_lora_A.weight": { param: "loraA" },
      "tlora_lora_B.weight": { param: "loraB" },
    },
    biasOfAdapted: ["tlora_only"],
  },
});

/** Options of `tlora`, checked. */
export type { TloraOptions };

function numbered(name: string): Record<string, { readonly param: string }> {
  return Object.fromEntries(
    Array.from({ length: mostModes }, (_, d) => [`tlora_${name}.${d}`, { param: `${name}${d}` }]),
  );
}

function modesOf(layer: LayerShape, given: TloraOptions, side: "in" | "out"): number[] {
  const [text, name] = side === "in" ? [given.modesIn, "tlora.modesIn"] : [given.modesOut, "tlora.modesOut"];
  const modes = readModes(text, given.modes, layer[side], name);
  if (modes.length <= mostModes) return modes;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "too many modes",
    option: name,
    expected: `at most ${mostModes}`,
    found: `${modes.length}`,
  });
}

function coresOf(params: Params, name: string): Value[] {
  const cores: Value[] = [];
  while (params[`${name}${cores.length}`] !== undefined) cores.push(params[`${name}${cores.length}`]);
  return cores;
}

/** T (W x) + bias: the transform does not see the bias. */
function afterLayer(layer: LayerInGraph, cores: readonly Value[], x: Value): Value {
  const y = applyTransform(layer.operation(x, layer.storedWeight), cores);
  return layer.bias === undefined ? y : add(y, layer.perOutput(layer.bias));
}

function residualOf(params: Params, given: TloraOptions): Value | undefined {
  if (given.residual === "none") return undefined;
  if (given.residual === "tr") return ringMatrix(coresOf(params, "B"), coresOf(params, "C"));
  return matMul(mul(params.loraB, given.alpha / given.rankResidual), params.loraA);
}

/** Cores whose ring is the identity. */
function initialTransform(
  modes: readonly number[],
  { rankTransform: rank, init, noise }: TloraOptions,
  random: AdapterRandom,
): Tensor[] {
  return modes.map((mode, d) => {
    const values = new Float32Array(mode * mode * rank * rank);
    for (let i = 0; i < mode; i++)
      values.fill(1 / rank, (i * mode + i) * rank * rank, (i * mode + i + 1) * rank * rank);
    if (init === "zeroSum" && d === modes.length - 1 && rank > 1) {
      const drawn = toFloat64(random.normal(`A${d}`, [mode, mode, rank, rank], noise));
      addWithoutMean(values, drawn, rank, modes.length === 1);
    }
    return fromData("float32", values, [mode, mode, rank, rank]);
  });
}

/**
 * Adds numbers whose mean over ring indices is taken out entry by entry, which the ring's other cores, constant in them,
 * do not see. A ring of one core sees its diagonal only.
 */
function addWithoutMean(values: Float32Array, drawn: Float64Array, rank: number, diagonal: boolean): void {
  const size = rank * rank;
  for (let entry = 0; entry < values.length; entry += size) {
    let sum = 0;
    let count = 0;
    for (let k = 0; k < size; k++) {
      if (diagonal && k % (rank + 1) !== 0) continue;
      sum += drawn[entry + k];
      count++;
    }
    for (let k = 0; k < size; k++)
      values[entry + k] += drawn[entry + k] - (diagonal && k % (rank + 1) !== 0 ? 0 : sum / count);
  }
}

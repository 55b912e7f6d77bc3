import { add, matMul, mul, reshape, transpose, type Value } from "@loomweight/graph";
import { boolean, choice, integer, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import { defineAdapter, type LayerInGraph, type ParamShape, type Params, type StoredShapes } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { kaimingUniform } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";

const options = {
  rank: integer(8, "rank of the low-rank paths", { min: 1 }),
  weightPaths: choice(["lora", "vector", "constant", "none"], "lora", "form of A and B, which change the weight"),
  inputPath: choice(["lora", "vector", "none"], "lora", "form of C, which reaches the bias through the weight"),
  biasPaths: choice(["vector", "constant", "none"], "constant", "form of D and E, which change the bias"),
  biased: boolean(true, "the layer has a bias (of a file its tensors say so)"),
};
type GloraOptions = OptionValues<typeof options>;

/**
 * GLoRA: W′ = W + W ∘ A + B and b′ = b + b ∘ D + E + W C. A and B are low rank [out, rank] · [rank, in], one number an
 * output [out, 1], one number, or nothing; C low rank [in, rank] · [rank, 1] or [in, 1]; D and E [out] or one number.
 * A layer without bias has no C, D and E: files hold zeros in their place.
 * Source: Chavan et al. 2023, arXiv:2306.07967. As PEFT computes it.
 */
export const glora = defineAdapter({
  name: "glora",
  source: "arXiv:2306.07967",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, given, stored) => shapesOf(layer, given, stored),
  init: (layer, given, { random }) => {
    const fresh: Record<string, Tensor> = {};
    for (const [name, shape] of Object.entries(shapesOf(layer, given, undefined))) {
      const sizes = shape.map((dim) => (dim === "out" ? layer.out : dim === "in" ? layer.in : (dim as number)));
      // The second factors are drawn; all else is zero, so the paths are.
      fresh[name] = /Up$/.test(name) ? kaimingUniform(random, name, sizes, sizes[1]) : zeros(sizes);
    }
    return fresh;
  },
  prepared: (): Readonly<Record<string, ParamShape>> => ({ throughWeight: ["out"] }),
  prepare: async (_layer, params, _given, { weight }) => {
    const column = pathOf(params as Params, "C");
    // A bias is folded apart from the weight: what C adds to it is computed here from the base.
    if (column === undefined) return {};
    return { throughWeight: shift(await weight(), column) as Tensor };
  },
  apply: (layer, params, x) => {
    const change = updateOf(layer.base, layer, params);
    const y = change === undefined ? layer.forward(x) : add(layer.forward(x), matMul(x, transpose(change, [1, 0])));
    const column = pathOf(params, "C");
    return biasShift(y, layer, params, column === undefined ? undefined : shift(layer.base, column));
  },
  weight: (layer, params) => {
    const change = updateOf(layer.base, layer, params);
    return change === undefined ? layer.weight : add(layer.weight, change);
  },
  bias: {
    needs: [],
    missing: "skip",
    change: (bias, _layer, params) => {
      const [D, E] = [pathOf(params, "D"), pathOf(params, "E")];
      const parts = [D === undefined ? undefined : mul(bias, D), E, params.throughWeight];
      return parts.reduce<Value>((sum, part) => (part === undefined ? sum : add(sum, part)), bias);
    },
  },
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["GLORA"],
    fields: {
      config_A_B: option("lora"),
      config_C: option("lora"),
      config_D_E: option("constant"),
      init_weights: note(true),
      r: option(8),
    },
    optionFields: { rank: "r", weightPaths: "config_A_B", inputPath: "config_C", biasPaths: "config_D_E" },
    suffixes: Object.fromEntries(
      ["A", "B", "C", "D", "E"].flatMap((path) => [
        [`glora_${path}.Xd`, { param: `${path}Down` }],
        [`glora_${path}.Xu`, { param: `${path}Up` }],
        [`glora_${path}.X`, { param: path }],
        [`glora_${path}.zeros`, { param: `${path}Zeros` }],
      ]),
    ),
    biasOfAdapted: ["glora_only"],
  },
});

/** Options of `glora`, checked. */
export type { GloraOptions };

function shapesOf(
  _layer: LayerShape,
  given: GloraOptions,
  stored: StoredShapes | undefined,
): Record<string, ParamShape> {
  const { rank, weightPaths, inputPath, biasPaths } = given;
  const biased = stored === undefined ? given.biased : !["C", "D", "E"].every((path) => stored.has(`${path}Zeros`));
  const shapes: Record<string, ParamShape> = {};
  const put = (path: string, form: string, rows: "out" | "in", columns: "in" | 1 | undefined) => {
    if (form === "lora") {
      shapes[`${path}Down`] = [rows, rank];
      shapes[`${path}Up`] = [rank, columns as "in" | 1];
    } else if (form === "vector") shapes[path] = columns === undefined ? [rows] : [rows, 1];
    else if (form === "constant") shapes[path] = [1];
    else shapes[`${path}Zeros`] = columns === undefined ? [rows] : [rows, columns];
  };
  put("A", weightPaths, "out", "in");
  put("B", weightPaths, "out", "in");
  put("C", biased ? inputPath : "none", "in", 1);
  put("D", biased ? biasPaths : "none", "out", undefined);
  put("E", biased ? biasPaths : "none", "out", undefined);
  return shapes;
}

/** What a path comes to; undefined where it is switched off. */
function pathOf(params: Params, path: string): Value | undefined {
  const [down, up] = [params[`${path}Down`], params[`${path}Up`]];
  return down !== undefined && up !== undefined ? matMul(down, up) : params[path];
}

/** base ∘ A + B, [out, in]; undefined where both are switched off. */
function updateOf(base: Value, layer: LayerShape, params: Params): Value | undefined {
  const [A, B] = [pathOf(params, "A"), pathOf(params, "B")];
  const scaled = A === undefined ? undefined : mul(base, A);
  if (scaled === undefined || B === undefined) return scaled ?? B;
  return reshape(add(scaled, B), [layer.out, layer.in]);
}

/** weight [out, in] · column [in, 1] as [out]. */
function shift(weight: Value, column: Value): Value {
  return reshape(matMul(weight, column), [-1]);
}

function biasShift(y: Value, layer: LayerInGraph, params: Params, through: Value | undefined): Value {
  const bias = layer.bias;
  if (bias === undefined) return y;
  const [D, E] = [pathOf(params, "D"), pathOf(params, "E")];
  const parts = [D === undefined ? undefined : mul(bias, D), E, through];
  return parts.reduce<Value>((sum, part) => (part === undefined ? sum : add(sum, part)), y);
}

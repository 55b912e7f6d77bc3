import { div, gather, mul, reshape, type Value } from "@loomweight/graph";
import { boolean, elementCount, fromData, invalidOption, type OptionValues } from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type ParamShape, paramShape } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { forwardWith } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";
import type { PeftConfig } from "../peft/format.ts";
import { compilePattern } from "../peft/pattern.ts";

const options = {
  feedforward: boolean(false, "the layer's inputs are scaled instead of its outputs"),
};
type Ia3Options = OptionValues<typeof options>;

/**
 * IA³: W′ = diag(scale) W and b′ = scale ∘ b for scale [out]; with `feedforward` W′ = W diag(scale) for scale [in], the
 * bias stays. Of a convolution `in` counts channels (of all groups) and every kernel position of one is scaled alike.
 * Source: Liu et al. 2022, arXiv:2205.05638, §3.3. As PEFT computes it.
 */
export const ia3 = defineAdapter({
  name: "ia3",
  source: "arXiv:2205.05638",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "convolution"],
  options,
  params: (layer, given, stored) => ({ scale: scaleShape(layer, given, stored?.get("scale")) }),
  init: (layer, given) => {
    const shape = paramShape(scaleShape(layer, given, undefined), layer);
    return { scale: fromData("float32", new Float32Array(elementCount(shape)).fill(1), shape) }; // one: nothing changes
  },
  apply: (layer, { scale }, x, { feedforward }) => {
    if (!feedforward) return mul(layer.forward(x), layer.perOutput(reshape(scale, [layer.out])));
    if (layer.kind !== "convolution") return layer.forward(mul(x, reshape(scale, [layer.in])));
    return forwardWith(layer, mul(layer.weight, factors(layer, scale, feedforward)), x);
  },
  weight: (layer, { scale }, { feedforward }) => mul(layer.weight, factors(layer, scale, feedforward)),
  original: (layer, { scale }, { feedforward }) => div(layer.weight, factors(layer, scale, feedforward)),
  bias: {
    needs: ["scale"],
    missing: "skip",
    change: (bias, layer, { scale }, { feedforward }) => (feedforward ? bias : mul(bias, reshape(scale, [layer.out]))),
    original: (bias, layer, { scale }, { feedforward }) =>
      feedforward ? bias : div(bias, reshape(scale, [layer.out])),
  },
  // A convolution's `in` counts kernel positions, the scale channels.
  tiling: (layer) => (layer.kind === "convolution" ? { out: 1 } : { out: 1, in: 1 }),
  files: {
    peftTypes: ["IA3"],
    fields: { fan_in_fan_out: option(false), feedforward_modules: option(null), init_ia3_weights: note(true) },
    optionFields: {},
    moduleOptions: (config, path, file) => ({ feedforward: isFeedforward(config, path, file) }),
    suffixes: { ia3_l: { param: "scale" } },
    biasOfAdapted: [],
  },
});

/** Options of `ia3`, checked. */
export type { Ia3Options };

/** PEFT's rule: a list by plain endings, without a dot; a pattern by the whole path. */
function isFeedforward(config: PeftConfig, path: string, file: string): boolean {
  const named = config.feedforward_modules;
  if (named === null || named === undefined) return false;
  if (typeof named === "string") {
    return compilePattern(named, { option: "feedforward_modules", file }).matchesWhole(path);
  }
  if (Array.isArray(named) && named.every((each) => typeof each === "string")) {
    return named.some((name) => path.endsWith(name));
  }
  throw invalidOption(
    { option: "feedforward_modules", file },
    JSON.stringify(named).slice(0, 200),
    "a list of names or a pattern",
  );
}

/** As the file has it: [out, 1] or [1, in]; of a convolution [1, channels, 1, …]. */
function scaleShape(layer: LayerShape, { feedforward }: Ia3Options, stored: readonly number[] | undefined): ParamShape {
  if (layer.kind !== "convolution") return feedforward ? [1, "in"] : ["out", 1];
  const [rows, channels, ...kernel] = layer.storedShape;
  const rest = kernel.map(() => 1);
  if (!feedforward) return [1, "out", ...rest];
  // A weight does not show its groups; the file's vector, one number a channel, does.
  const held = stored === undefined ? channels * (layer.groups ?? 1) : elementCount(stored);
  const isWhole = held % channels === 0 && rows % (held / channels) === 0;
  return [1, isWhole ? held : channels, ...rest];
}

/** What each entry of the weight is multiplied by, [out, 1], [1, in] or [out, in]. */
function factors(layer: LayerValues, scale: Value, feedforward: boolean): Value {
  if (!feedforward) return reshape(scale, [layer.out, 1]);
  if (layer.kind !== "convolution") return reshape(scale, [1, layer.in]);
  const [rows, channels, ...kernel] = layer.storedShape;
  const positions = kernel.reduce((product, size) => product * size, 1);
  const groups = (scale.shape[1] as number) / channels;
  const begin = layer.offset?.out ?? 0;
  const at = new BigInt64Array(layer.out * channels * positions);
  for (let i = 0; i < at.length; i++) {
    const row = begin + Math.floor(i / (channels * positions));
    const group = Math.floor((row * groups) / rows);
    at[i] = BigInt(group * channels + (Math.floor(i / positions) % channels));
  }
  return gather(reshape(scale, [groups * channels]), fromData("int64", at, [layer.out, channels * positions]));
}

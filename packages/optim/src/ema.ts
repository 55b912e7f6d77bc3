import { boolean, choice, type OptionValues, parseOptions, unitInterval } from "@loomweight/tensor";
import { blendAll, copiesOf, initCopies } from "./blend.ts";
import type { ParameterTransform } from "./transform.ts";

const specs = {
  decay: unitInterval(0.999, "share of the average that stays at every step"),
  warmup: boolean(false, "decays of min(decay, (1 + t) / (10 + t)), so that the start is forgotten sooner"),
  from: choice(
    ["initial", "first-step"],
    "initial",
    "what the average starts as: the parameters before or after step 1",
  ),
};

/**
 * Moving average of the parameters, s ← decay · s + (1 − decay) · p after every step, for the end of a chain. The
 * average is what `averaged` gives: what is evaluated and saved. `from: "first-step"` is torch's AveragedModel.
 * State: `ema`. Polyak averaging with exponential weights; the warm-up is TensorFlow's ExponentialMovingAverage.
 */
export function ema(options: Partial<OptionValues<typeof specs>> = {}): ParameterTransform {
  const { decay, warmup, from } = parseOptions(specs, options, "ema");
  return {
    name: "ema",
    init: (parameters) => initCopies("ema", parameters),
    scalars(step) {
      const warm = warmup ? Math.min(decay, (1 + step) / (10 + step)) : decay;
      const keep = step === 1 && from === "first-step" ? 0 : warm;
      return { keep, share: 1 - keep };
    },
    after: (call) => ({ state: blendAll("ema", call) }),
    averaged: (call) => copiesOf("ema", call),
  };
}

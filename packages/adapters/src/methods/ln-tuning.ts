import { add, reshape } from "@loomweight/graph";
import { cast, LoomweightError, type OptionValues, type Tensor } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";

const options = {};

/**
 * LN tuning: the gain [n] (and the bias [n], where the layer has one) of normalization layers is trained and takes the
 * place of the base's.
 * Source: Zhao et al. 2023, arXiv:2312.11420; as PEFT's `LN_TUNING` stores it.
 */
export const lnTuning = defineAdapter({
  name: "ln-tuning",
  source: "arXiv:2312.11420",
  scope: "layer",
  kinds: ["normalization"],
  options,
  params: () => ({ gain: ["out"], shift: ["out"] }),
  optional: ["shift"],
  init: (layer, _options, { weight, bias }): Record<string, Tensor> => {
    if (weight === undefined) {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        problem: "ln-tuning starts from the layer's weight, which was not given",
        option: "init weight",
        expected: `a weight [${layer.out}, 1]`,
      });
    }
    const gain = cast(reshape(weight, [layer.out]), "float32");
    return bias === undefined ? { gain } : { gain, shift: cast(bias, "float32") };
  },
  apply: (layer, { gain, shift }, x) => {
    const y = layer.operation(x, gain);
    const bias = shift ?? layer.bias;
    return bias === undefined ? y : add(y, layer.perOutput(bias));
  },
  weight: (_layer, { gain }) => reshape(gain, [-1, 1]),
  bias: { needs: ["shift"], change: (_bias, _layer, { shift }) => shift },
  tiling: () => ({ out: 1 }),
  files: {
    peftTypes: ["LN_TUNING"],
    fields: {},
    optionFields: {},
    suffixes: {
      "ln_tuning_layers.weight": { param: "gain" },
      "ln_tuning_layers.bias": { param: "shift" },
    },
    biasOfAdapted: [],
  },
});

/** Options of `lnTuning`, checked. */
export type LnTuningOptions = OptionValues<typeof options>;

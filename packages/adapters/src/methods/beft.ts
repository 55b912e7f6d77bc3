import { add, sub } from "@loomweight/graph";
import { type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { note } from "../peft/field.ts";

const options = {};

/**
 * BEFT: the bias alone is trained, b′ = b + shift [out].
 * Source: Huang et al. 2025, arXiv:2509.15974. As PEFT computes it; a layer without bias is refused.
 */
export const beft = defineAdapter({
  name: "beft",
  source: "arXiv:2509.15974",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: () => ({ shift: ["out"] }),
  init: (layer) => ({ shift: zeros([layer.out]) }),
  apply: (layer, { shift }, x) => add(layer.forward(x), layer.perOutput(shift)),
  bias: {
    needs: ["shift"],
    change: (bias, _layer, { shift }) => add(bias, shift),
    original: (bias, _layer, { shift }) => sub(bias, shift),
  },
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["BEFT"],
    fields: { init_weights: note(true) },
    optionFields: {},
    suffixes: { beft_bias: { param: "shift" } },
    fileShape: (_param, layer) => [1, layer.out],
    biasOfAdapted: [],
  },
});

/** Options of `beft`: none. */
export type BeftOptions = OptionValues<typeof options>;

import { mul, type Value } from "@loomweight/graph";
import { linear } from "./linear.ts";
import type { Module } from "./module.ts";

export interface MlpOptions {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly activation: (x: Value) => Value;
  readonly bias: boolean;
}

/** Gated MLP: down(activation(gate(x)) · up(x)). Shazeer 2020, arXiv:2002.05202. Weights gate_proj, up_proj, down_proj. */
export function gatedMlp(
  module: Module,
  x: Value,
  { hiddenSize, intermediateSize, activation, bias }: MlpOptions,
): Value {
  const widen = { inFeatures: hiddenSize, outFeatures: intermediateSize, bias };
  const gate = activation(linear(module, "gate_proj", x, widen));
  const up = linear(module, "up_proj", x, widen);
  return linear(module, "down_proj", mul(gate, up), { inFeatures: intermediateSize, outFeatures: hiddenSize, bias });
}

export interface PlainMlpOptions extends MlpOptions {
  /** Names of the two linear layers. */
  readonly names: readonly [widen: string, narrow: string];
}

/** narrow(activation(widen(x))): x [..., hidden] → the same shape. */
export function plainMlp(
  module: Module,
  x: Value,
  { hiddenSize, intermediateSize, activation, bias, names: [widen, narrow] }: PlainMlpOptions,
): Value {
  const widened = linear(module, widen, x, { inFeatures: hiddenSize, outFeatures: intermediateSize, bias });
  return linear(module, narrow, activation(widened), { inFeatures: intermediateSize, outFeatures: hiddenSize, bias });
}

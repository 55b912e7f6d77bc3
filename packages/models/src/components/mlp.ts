import { cast, mul, type Value } from "@loomweight/graph";
import { productInRange } from "./float32.ts";
import { linear } from "./linear.ts";
import type { Module } from "./module.ts";

export interface MlpOptions {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly activation: (x: Value) => Value;
  readonly bias: boolean;
}

export interface GatedMlpOptions extends MlpOptions {
  /** The product of gate and up, and the result, are float32, in half precision too; only without a bias. Default false. */
  readonly wide?: boolean;
}

/** Gated MLP: down(activation(gate(x)) · up(x)). Shazeer 2020, arXiv:2002.05202. Weights gate_proj, up_proj, down_proj. */
export function gatedMlp(
  module: Module,
  x: Value,
  { hiddenSize, intermediateSize, activation, bias, wide = false }: GatedMlpOptions,
): Value {
  const widen = { inFeatures: hiddenSize, outFeatures: intermediateSize, bias };
  const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias };
  const down = (widened: Value) => linear(module, "down_proj", widened, narrow);
  const gate = linear(module, "gate_proj", x, widen);
  const up = linear(module, "up_proj", x, widen);
  if (!wide || bias) return down(mul(activation(gate), up));
  return productInRange(module, mul(activation(cast(gate, "float32")), cast(up, "float32")), down);
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

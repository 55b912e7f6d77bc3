import { gelu, mul } from "../ops/elementwise.ts";
import type { Value } from "../value.ts";
import { silu } from "./activation.ts";
import { linear } from "./linear.ts";
import { inLayer, type Parameters, parameterName } from "./parameters.ts";

export interface MlpOptions {
  /** Between the layers; default gelu (`gatedMlp`: silu). */
  readonly activation?: (x: Value) => Value;
  /** Names of the layers. */
  readonly layers?: readonly string[];
}

/** linear, activation, linear, …: layers "fc1" and "fc2" unless named otherwise. */
export function mlp(
  parameters: Parameters,
  layer: string,
  x: Value,
  { activation = gelu, layers = ["fc1", "fc2"] }: MlpOptions = {},
): Value {
  return layers.reduce((value, name, index) => {
    const result = linear(parameters, parameterName(layer, name), value);
    return index === layers.length - 1 ? result : inLayer(layer, () => activation(result));
  }, x);
}

/** down(activation(gate(x)) · up(x)), as Llama's: layers gate_proj, up_proj, down_proj. */
export function gatedMlp(
  parameters: Parameters,
  layer: string,
  x: Value,
  { activation = silu, layers = ["gate_proj", "up_proj", "down_proj"] }: MlpOptions = {},
): Value {
  const [gate, up, down] = layers.map((name) => parameterName(layer, name));
  const inner = mul(activation(linear(parameters, gate, x)), linear(parameters, up, x));
  return linear(parameters, down, inner);
}

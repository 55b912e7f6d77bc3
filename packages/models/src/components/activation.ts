import { gelu, mul, relu, sigmoid, tanh, type Value } from "@loomweight/graph";
import { closestNames } from "@loomweight/tensor";
import type { ConfigReader } from "../config-reader.ts";

/** Activations by the names that config.json uses. */
export const activations: Readonly<Record<string, (x: Value) => Value>> = {
  gelu: (x) => gelu(x, "none"), // x · Φ(x) with the error function
  gelu_new: (x) => gelu(x, "tanh"),
  gelu_pytorch_tanh: (x) => gelu(x, "tanh"),
  quick_gelu: (x) => mul(x, sigmoid(mul(x, 1.702))),
  relu,
  sigmoid,
  silu: (x) => mul(x, sigmoid(x)),
  swish: (x) => mul(x, sigmoid(x)),
  tanh,
};

/** The activation that `field` names, some names standing for others (`aliases`); throws `INVALID_CONFIG` with the known ones when it is not among them. */
export function readActivation(
  config: ConfigReader,
  field: string,
  initial: string,
  aliases: Readonly<Record<string, string>> = {},
): (x: Value) => Value {
  const stated = config.text(field) ?? initial;
  const name = Object.hasOwn(aliases, stated) ? aliases[stated] : stated;
  if (Object.hasOwn(activations, name)) return activations[name];
  const close = closestNames(name, Object.keys(activations));
  throw config.refuse(
    field,
    `one of ${Object.keys(activations).join(", ")}`,
    close.length === 0 ? undefined : `Did you mean ${close.map((each) => `"${each}"`).join(" or ")}?`,
  );
}

import { LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { isConcrete } from "../dims.ts";
import { named } from "../scope.ts";
import type { Value } from "../value.ts";

/** Weights by their names in the checkpoint: values of a graph, or tensors, on which layers then compute at once. */
export type Parameters = Readonly<Record<string, Value>>;

/** First weights of a layer, by name. */
export type InitialParameters = Record<string, Tensor>;

/** The parameter `layer`.`name`; throws `UNKNOWN_PARAMETER` naming near ones. */
export function parameterOf(parameters: Parameters, layer: string, name: string): Value {
  const full = parameterName(layer, name);
  const value = parameters[full];
  if (value !== undefined) return value;
  throw unknownName({ kind: "parameter", name: full, known: Object.keys(parameters), code: "UNKNOWN_PARAMETER" });
}

/** The parameter where the layer has it: biases are optional. */
export function optionalParameter(parameters: Parameters, layer: string, name: string): Value | undefined {
  return parameters[parameterName(layer, name)];
}

/** "fc1" and "weight" make "fc1.weight"; a layer without a name has bare ones. */
export function parameterName(layer: string, name: string): string {
  return layer === "" ? name : `${layer}.${name}`;
}

/** Sizes as numbers; throws `SYMBOLIC_SHAPE`. */
export function sizesOf(x: Value, layer: string): readonly number[] {
  if (isConcrete(x.shape)) return x.shape;
  throw new LoomweightError({
    code: "SYMBOLIC_SHAPE",
    problem: `${layer} needs its input's sizes as numbers`,
    found: `[${x.shape}]`,
    fix: "Training graphs are built for concrete shapes: give the input numbers.",
  });
}

/** Builds under the layer's name; a layer without one adds none. */
export function inLayer<T>(layer: string, build: () => T): T {
  return layer === "" ? build() : named(layer, build);
}

import { assemble } from "./assemble.ts";
import { branch } from "./evaluate/body.ts";
import { input } from "./inputs.ts";
import type { OnnxGraph } from "./model.ts";
import type { GraphValue, Value } from "./value.ts";

/** Builds the outputs of one branch, by name, from what it takes from around it. */
export type Branch<K extends string> = (around: Readonly<Record<K, GraphValue>>) => Readonly<Record<string, Value>>;

/**
 * An If: the outputs of `then` where `condition` (bool, one element) holds, else those of `otherwise`; only one of them is
 * computed. Both give outputs of the same names and dtypes. `around`: what the branches use, by the names they use.
 */
export function choose<K extends string>(
  condition: Value,
  around: Readonly<Record<K, Value>>,
  then: Branch<K>,
  otherwise: Branch<K>,
): Readonly<Record<string, Value>> {
  const [a, b] = [bodyOf("then", around, then), bodyOf("otherwise", around, otherwise)];
  const attributes = {
    then_branch: { type: "graph" as const, value: a },
    else_branch: { type: "graph" as const, value: b },
  };
  const made = branch(attributes, condition, around);
  return Object.fromEntries(a.outputs.map(({ name }, index) => [name, made[index]]));
}

function bodyOf<K extends string>(name: string, around: Readonly<Record<K, Value>>, build: Branch<K>): OnnxGraph {
  const taken = Object.fromEntries(
    Object.entries<Value>(around).map(([key, { dtype, shape }]) => [key, input(key, dtype, shape)]),
  ) as Record<K, GraphValue>;
  const { graph } = assemble({ name, inputs: Object.values<GraphValue>(taken), outputs: build(taken) });
  return { ...graph, inputs: [] }; // taken from around it, by the same names
}

import { slice, type Value } from "@loomweight/graph";

/** Entry j of a vector, as [1]: it broadcasts against anything. */
export function pick(vector: Value, j: number): Value {
  return slice(vector, { starts: [j], ends: [j + 1], axes: [0] });
}

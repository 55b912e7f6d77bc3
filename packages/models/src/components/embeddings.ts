import { gather, shapeOf, slice, type Value } from "@loomweight/graph";
import { inside, type Module, weight } from "./module.ts";

/** Rows of the table `name` [count, size]: ids [...] → [..., size]. */
export function embedding(parent: Module, name: string, ids: Value, [count, size]: readonly [number, number]): Value {
  return inside(parent, name, (module) => gather(weight(module, "weight", [count, size]), ids, 0));
}

/** The first rows of a table of learned positions [count, size], as many as `ids` [batch, sequence] has columns. */
export function positionRows(
  parent: Module,
  name: string,
  ids: Value,
  [count, size]: readonly [number, number],
): Value {
  return inside(parent, name, (module) =>
    slice(weight(module, "weight", [count, size]), {
      axes: [0],
      starts: [0],
      ends: shapeOf(ids, { start: 1, end: 2 }),
    }),
  );
}

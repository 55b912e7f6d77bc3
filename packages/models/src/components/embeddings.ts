import { gather, range, type Value } from "@loomweight/graph";
import { length } from "./mask.ts";
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
  return inside(parent, name, (module) => {
    const columns = range(0, length(ids), 1);
    return gather(weight(module, "weight", [count, size]), columns, 0);
  });
}

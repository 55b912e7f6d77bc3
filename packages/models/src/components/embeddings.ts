import { add, cast, cumSum, equal, gather, mul, not, range, type Value } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
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

/**
 * Rows of a table of learned positions that skips padding: the position of a token is `padId` plus the count of tokens
 * so far that are not `padId`, that of padding `padId`. ids [batch, sequence] → [batch, sequence, size].
 */
export function positionRowsPastPadding(
  parent: Module,
  name: string,
  ids: Value,
  { padId, shape }: { readonly padId: number; readonly shape: readonly [count: number, size: number] },
): Value {
  return inside(parent, name, (module) => {
    const real = cast(not(equal(ids, fromData("int64", BigInt64Array.of(BigInt(padId)), []))), "int32");
    const places = add(mul(cumSum(real, 1), real), fromData("int32", Int32Array.of(padId), []));
    return gather(weight(module, "weight", shape), places, 0);
  });
}

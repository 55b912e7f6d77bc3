import { add, cast, cumSum, gather, mul, shapeOf, slice, type Value } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { idsThat } from "./columns.ts";
import { inside, type Module, weight } from "./module.ts";

/** Rows of the table `name` [count, size]: ids [...] → [..., size]. */
export function embedding(parent: Module, name: string, ids: Value, [count, size]: readonly [number, number]): Value {
  return inside(parent, name, (module) => gather(weight(module, "weight", [count, size]), ids, 0));
}

/** The first rows of a table of learned positions [count, size], as many as the floats `words` [batch, sequence, …] have columns. */
export function positionRows(
  parent: Module,
  name: string,
  words: Value,
  [count, size]: readonly [number, number],
): Value {
  return inside(parent, name, (module) => {
    const ends = shapeOf(words, { start: 1, end: 2 });
    return slice(weight(module, "weight", [count, size]), { axes: [0], starts: [0], ends });
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
  {
    padId,
    vocabSize,
    shape,
  }: { readonly padId: number; readonly vocabSize: number; readonly shape: readonly [count: number, size: number] },
): Value {
  return inside(parent, name, (module) => {
    const real = idsThat(ids, vocabSize, (id) => id !== padId);
    const places = add(mul(cumSum(real, 1), real), fromData("float32", Float32Array.of(padId), []));
    return gather(weight(module, "weight", shape), cast(places, "int32"), 0);
  });
}

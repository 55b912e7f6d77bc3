import { LoomweightError, unknownName } from "@loomweight/tensor";
import { describeValue, isLocatedList, isLocatedMap, type Located, type LocatedEntry } from "./located.ts";

/** The entries of a mapping; anything else is `INVALID_RECIPE`. */
export function mapping(located: Located, what: string): ReadonlyMap<string, LocatedEntry> {
  if (!isLocatedMap(located.value)) throw wrongKind(located, what, "a mapping");
  return located.value;
}

/** The items of a list; anything else is `INVALID_RECIPE`. */
export function list(located: Located, what: string): readonly Located[] {
  if (!isLocatedList(located.value)) throw wrongKind(located, what, "a list");
  return located.value;
}

/** Refuses keys that are not `known`, naming the closest. */
export function requireKnownKeys(located: Located, what: string, known: readonly string[]): void {
  for (const [name, { keyPlace }] of mapping(located, what)) {
    if (!known.includes(name)) {
      throw unknownName({ kind: `key of a ${what}`, name, known, code: "UNKNOWN_KEY", ...keyPlace });
    }
  }
}

/** The text under `key`; undefined where it is absent or null. */
export function textAt(located: Located, key: string): string | undefined {
  const item = itemAt(located, key);
  if (item === undefined) return undefined;
  if (typeof item.value !== "string") throw wrongKind(item, key, "text");
  return item.value;
}

/** The value under `key`; undefined where it is absent or null. */
export function itemAt(located: Located, key: string): Located | undefined {
  const item = mapping(located, "recipe").get(key)?.item;
  return item === undefined || item.value === null ? undefined : item;
}

export function wrongKind(located: Located, what: string, expected: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_RECIPE",
    problem: `${what} has the wrong form`,
    expected,
    found: describeValue(located),
    ...located.place,
  });
}

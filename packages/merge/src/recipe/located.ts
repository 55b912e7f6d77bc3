/** 1-based; line and column are absent for recipes that were given as objects. */
export interface Place {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
}

/** A value of a recipe together with where it stands. */
export interface Located {
  readonly value: Scalar | readonly Located[] | ReadonlyMap<string, LocatedEntry>;
  readonly place: Place;
}

export type Scalar = string | number | boolean | null;

export interface LocatedEntry {
  readonly keyPlace: Place;
  readonly item: Located;
}

/** Values in all, after aliases are followed: bounds what a bomb of anchors can unfold to. */
export const maxValues = 100_000;
export const maxDepth = 64;

export const isLocatedMap = (value: Located["value"]): value is ReadonlyMap<string, LocatedEntry> =>
  value instanceof Map;

export const isLocatedList = (value: Located["value"]): value is readonly Located[] => Array.isArray(value);

/** What a value is, in a word or two, for messages. */
export function describeValue({ value }: Located): string {
  if (isLocatedMap(value)) return "a mapping";
  if (isLocatedList(value)) return "a list";
  return value === null ? "nothing" : JSON.stringify(value);
}

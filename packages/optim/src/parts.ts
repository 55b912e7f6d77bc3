import { LoomweightError } from "@loomweight/tensor";

/** Puts a part's number before its names, so that equal names of two parts stay apart, and takes it off again. */
export function numbered(index: number): {
  add<T>(values: Readonly<Record<string, T>>): Record<string, T>;
  take<T>(values: Readonly<Record<string, T>>): Record<string, T>;
} {
  const prefix = `${index}.`;
  return {
    add: (values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value])),
    take: (values) =>
      Object.fromEntries(
        Object.entries(values)
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, value]) => [name.slice(prefix.length), value]),
      ),
  };
}

/** The records of several parts as one; throws `DUPLICATE_NAME` where two of them use one name. */
export function joined<T>(parts: readonly (readonly [string, Readonly<Record<string, T>>])[]): Record<string, T> {
  const all: Record<string, T> = {};
  const owners = new Map<string, string>();
  for (const [owner, values] of parts) {
    for (const [name, value] of Object.entries(values)) {
      const other = owners.get(name);
      if (other !== undefined) {
        throw new LoomweightError({
          code: "DUPLICATE_NAME",
          problem: `${other} and ${owner} both keep state named "${name}"`,
          fix: "Keep one of the two parts, or give one another `slot`.",
        });
      }
      owners.set(name, owner);
      all[name] = value;
    }
  }
  return all;
}

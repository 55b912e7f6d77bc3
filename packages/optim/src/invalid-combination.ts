import { LoomweightError } from "@loomweight/tensor";

/** Options that are fine alone but not together. */
export function invalidCombination(
  option: string,
  expected: string,
  found: Readonly<Record<string, unknown>>,
): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "options do not fit together",
    option,
    expected,
    found: Object.entries(found)
      .map(([name, value]) => `${name} ${value}`)
      .join(", "),
  });
}

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

/** Throws `INVALID_OPTION` unless 0 < beta < 1. */
export function requireOpenBeta(option: string, beta: number): void {
  if (beta > 0 && beta < 1) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    option,
    expected: "a number above 0 and below 1",
    found: String(beta),
  });
}

import { invalidOption } from "@loomweight/tensor";

/** A whole number within bounds, or `INVALID_OPTION` naming function and option. */
export function requireWhole(name: string, option: string, value: number, low: number, high: number): number {
  if (Number.isSafeInteger(value) && value >= low && value <= high) return value;
  const range = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`;
  throw invalidOption({ option: `${name}.${option}` }, value, `a whole number ${range}`);
}

/** A finite number of at least 0, or `INVALID_OPTION`. */
export function requireNonNegative(name: string, option: string, value: number): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
  throw invalidOption({ option: `${name}.${option}` }, value, "a finite number of at least 0");
}

/** One of the known words, or `INVALID_OPTION`. */
export function requireChoice<C extends string>(name: string, option: string, value: C, choices: readonly C[]): C {
  if (choices.includes(value)) return value;
  throw invalidOption({ option: `${name}.${option}` }, value, `one of ${choices.join(", ")}`);
}

/** Rounding of one operation in a dtype: 2^-23 in float32, 2^-52 in float64. */
export const machineEpsilon = { float32: 2 ** -23, float64: 2 ** -52 } as const;

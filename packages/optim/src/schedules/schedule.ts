import { LoomweightError, type OptionSpecs, type OptionValues, parseOptions } from "@loomweight/tensor";

/** A learning rate by the number of steps already taken: the first step asks for `schedule(0)`, as `train` does. */
export type Schedule = (step: number) => number;

/**
 * A function of checked options that gives a schedule; `specs` is called when used, so that bundlers drop schedules that
 * are not. `_required` names the options without a default, for the type alone. Throws `UNKNOWN_OPTION`, `MISSING_OPTION`, `INVALID_OPTION`.
 */
export function defineSchedule<const S extends OptionSpecs, K extends keyof S>(
  name: string,
  specs: () => S,
  _required: readonly K[],
  build: (options: OptionValues<S>) => Schedule,
): (options: Pick<OptionValues<S>, K> & Partial<OptionValues<S>>) => Schedule {
  return (options) => build(parseOptions(specs(), options, name));
}

/** From 1 at q = 0 to 0 at q = 1 along half a cosine. */
export function cosineFall(q: number): number {
  return (1 + Math.cos(Math.PI * q)) / 2;
}

/** Throws `INVALID_OPTION` where numbers are not finite or not in rising order (equal ones allowed). */
export function requireRising(option: string, values: readonly number[]): void {
  const at = values.findIndex((value, i) => !Number.isFinite(value) || (i > 0 && value < values[i - 1]));
  if (at < 0) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "steps must be finite and in rising order",
    option,
    found: `[${values}]`,
  });
}

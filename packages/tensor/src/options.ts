import { LoomweightError, unknownName } from "./errors.ts";

/** One option of a method or command: its default, meaning and check. Types, CLI flags and tables derive from it. */
export interface OptionSpec<T = unknown> {
  readonly kind: "number" | "integer" | "boolean" | "choice" | "text";
  /** Absent: the option is required. */
  readonly default?: T;
  readonly description: string;
  /** Allowed values in words: "0 < x <= 1". */
  readonly range: string;
  readonly choices?: readonly string[];
  /** Returns the value, converted, or throws `INVALID_OPTION`. */
  check(value: unknown, place: OptionPlace): T;
}

/** Where an option was written, for its error message. */
export interface OptionPlace {
  readonly option: string;
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;
export type OptionValues<S extends OptionSpecs> = {
  readonly [K in keyof S]: S[K] extends OptionSpec<infer T> ? T : never;
};

export function invalidOption(place: OptionPlace, found: unknown, expected: string, fix?: string): LoomweightError {
  const text = typeof found === "string" ? JSON.stringify(found) : String(found);
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    expected,
    found: text,
    fix,
    ...place,
  });
}

function numeric<T extends number | undefined>(
  kind: "number" | "integer",
  initial: T | undefined,
  description: string,
  range: string,
  accepts: (value: number) => boolean,
): OptionSpec<number> {
  return {
    kind,
    default: initial,
    description,
    range,
    check(value, place) {
      // YAML and command lines give numbers as text, recipes give booleans for 0 and 1.
      const number =
        typeof value === "boolean"
          ? Number(value)
          : typeof value === "string" && value.trim() !== ""
            ? Number(value)
            : value;
      if (typeof number !== "number" || !Number.isFinite(number) || !accepts(number)) {
        throw invalidOption(place, value, range);
      }
      return number;
    },
  };
}

/** Any finite number; `undefined` as default makes it required. */
export const finite = (initial: number | undefined, description: string) =>
  numeric("number", initial, description, "a finite number", () => true);

/** A share: 0 < x <= 1. */
export const fraction = (initial: number | undefined, description: string) =>
  numeric("number", initial, description, "a number above 0 and at most 1", (x) => x > 0 && x <= 1);

/** 0 <= x <= 1. */
export const unitInterval = (initial: number | undefined, description: string) =>
  numeric("number", initial, description, "a number from 0 to 1", (x) => x >= 0 && x <= 1);

/** x > 0. */
export const positive = (initial: number | undefined, description: string) =>
  numeric("number", initial, description, "a number above 0", (x) => x > 0);

/** x >= 0. */
export const nonNegative = (initial: number | undefined, description: string) =>
  numeric("number", initial, description, "a number of at least 0", (x) => x >= 0);

/** 0 <= x < 1: a decay rate of a moving average. */
export const belowOne = (initial: number | undefined, description: string) =>
  numeric("number", initial, description, "a number of at least 0 and below 1", (x) => x >= 0 && x < 1);

/** A whole number within bounds. */
export function integer(
  initial: number | undefined,
  description: string,
  bounds: { min?: number; max?: number } = {},
): OptionSpec<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = bounds;
  const range =
    bounds.min === undefined && bounds.max === undefined
      ? "a whole number"
      : bounds.max === undefined
        ? `a whole number of at least ${min}`
        : `a whole number from ${min} to ${max}`;
  return numeric("integer", initial, description, range, (x) => Number.isSafeInteger(x) && x >= min && x <= max);
}

/** true or false; 0 and 1 count. */
export function boolean(initial: boolean | undefined, description: string): OptionSpec<boolean> {
  return {
    kind: "boolean",
    default: initial,
    description,
    range: "true or false",
    check(value, place) {
      if (value === true || value === 1 || value === "true") return true;
      if (value === false || value === 0 || value === "false") return false;
      throw invalidOption(place, value, "true or false");
    },
  };
}

/** One of a few words. */
export function choice<const C extends string>(
  choices: readonly C[],
  initial: C | undefined,
  description: string,
): OptionSpec<C> {
  return {
    kind: "choice",
    default: initial,
    description,
    range: choices.join(", "),
    choices,
    check(value, place) {
      if (choices.includes(value as C)) return value as C;
      if (typeof value !== "string") throw invalidOption(place, value, `one of ${choices.join(", ")}`);
      throw unknownName({
        kind: `value for ${place.option}`,
        name: value,
        known: choices,
        code: "INVALID_OPTION",
        ...place,
      });
    },
  };
}

/** Any text. */
export function text(initial: string | undefined, description: string): OptionSpec<string> {
  return {
    kind: "text",
    default: initial,
    description,
    range: "text",
    check(value, place) {
      if (typeof value !== "string") throw invalidOption(place, value, "text");
      return value;
    },
  };
}

/**
 * Checks `raw` against `specs`: unknown names, missing required options and bad values throw; defaults are filled in.
 * `where` is put before option names: `ties` gives "option ties.density".
 */
export function parseOptions<S extends OptionSpecs>(
  specs: S,
  raw: Readonly<Record<string, unknown>>,
  where: string,
  place: Omit<OptionPlace, "option"> = {},
): OptionValues<S> {
  for (const name of Object.keys(raw)) {
    if (!Object.hasOwn(specs, name)) {
      throw unknownName({
        kind: `option of ${where}`,
        name,
        known: Object.keys(specs),
        code: "UNKNOWN_OPTION",
        ...place,
      });
    }
  }
  const values: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(specs)) {
    const option = `${where}.${name}`;
    if (raw[name] !== undefined) values[name] = spec.check(raw[name], { option, ...place });
    else if (spec.default !== undefined) values[name] = spec.default;
    else {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        problem: "required option is missing",
        option,
        expected: spec.range,
        ...place,
      });
    }
  }
  return values as OptionValues<S>;
}

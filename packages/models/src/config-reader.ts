import { closestNames, LoomweightError } from "@loomweight/tensor";

/** Bounds and default of a number in config.json. Without a default the field is required. */
export interface NumberField {
  readonly default?: number;
  readonly min?: number;
  readonly max?: number;
}

/**
 * Reads config.json field by field, remembers what was read, and at the end refuses every field that nobody
 * asked for: a field whose value changes the result is honoured or named, never skipped. null counts as absent, as in
 * the reference library.
 */
export interface ConfigReader {
  /** Name of the file, for messages. */
  readonly file: string;
  /** Whether the field is there and not null. */
  has(field: string): boolean;
  /** Whether the field is there and null, for the few fields where that differs from absence. */
  isNull(field: string): boolean;
  /** The raw value, undefined when absent or null. Marks the field as read. */
  value(field: string): unknown;
  /** A whole number; 1 to 2^24 unless bounded otherwise. */
  size(field: string, bounds?: NumberField): number;
  /** A finite number above 0 unless bounded otherwise. */
  number(field: string, bounds?: NumberField): number;
  flag(field: string, initial: boolean): boolean;
  /** A text; undefined when absent. */
  text(field: string): string | undefined;
  /** A list of texts; undefined when absent. */
  texts(field: string): readonly string[] | undefined;
  /** A list of finite numbers; required. */
  numbers(field: string): readonly number[];
  /** A nested object; undefined when absent. Its fields are checked by its own `finish`. */
  nested(field: string): ConfigReader | undefined;
  /** Refuses the model unless the field is absent or one of `values`: what else it may say is not built. */
  only(field: string, values: readonly unknown[], meaning: string): void;
  /** Throws `INVALID_CONFIG` about a field. */
  refuse(field: string, expected: string, fix?: string): LoomweightError;
  /** Throws `UNKNOWN_CONFIG_FIELD` when a field was neither read nor is in `harmless`. */
  finish(harmless: ReadonlySet<string>): void;
}

/** Sizes that no model reaches: beyond them a config is wrong, and nothing is to be allocated for it. */
const largestSize = 2 ** 24;

/**
 * @param config parsed config.json (hostile input)
 * @param file its name, for messages
 * @param path "" or the name of the nested object with a dot
 */
export function readConfigFields(config: Readonly<Record<string, unknown>>, file: string, path = ""): ConfigReader {
  const read = new Set<string>();
  const value = (field: string): unknown => {
    read.add(field);
    const found = Object.hasOwn(config, field) ? config[field] : undefined;
    return found === null ? undefined : found;
  };
  const refuse = (field: string, expected: string, fix?: string): LoomweightError =>
    invalidConfig({
      file,
      field: `${path}${field}`,
      expected,
      found: Object.hasOwn(config, field) ? config[field] : undefined,
      fix,
    });

  const bounded = (field: string, bounds: NumberField, whole: boolean): number => {
    const { min = whole ? 1 : 0, max = whole ? largestSize : Number.MAX_VALUE } = bounds;
    const found = value(field) ?? bounds.default;
    const fits =
      typeof found === "number" &&
      (whole ? Number.isSafeInteger(found) : Number.isFinite(found)) &&
      (whole || bounds.min !== undefined ? found >= min : found > min) &&
      found <= max;
    if (!fits) throw refuse(field, whole ? `a whole number from ${min} to ${max}` : boundsInWords(bounds));
    return found;
  };

  return {
    file,
    has: (field) => Object.hasOwn(config, field) && config[field] != null,
    isNull: (field) => Object.hasOwn(config, field) && config[field] === null,
    value,
    size: (field, bounds = {}) => bounded(field, bounds, true),
    number: (field, bounds = {}) => bounded(field, bounds, false),
    flag(field, initial) {
      const found = value(field) ?? initial;
      if (typeof found !== "boolean") throw refuse(field, "true or false");
      return found;
    },
    text(field) {
      const found = value(field);
      if (found !== undefined && typeof found !== "string") throw refuse(field, "a text");
      return found;
    },
    texts(field) {
      const found = value(field);
      if (found === undefined) return undefined;
      if (!Array.isArray(found) || found.some((each) => typeof each !== "string"))
        throw refuse(field, "a list of texts");
      return found as string[];
    },
    numbers(field) {
      const found = value(field);
      if (!Array.isArray(found) || found.some((each) => typeof each !== "number" || !Number.isFinite(each)))
        throw refuse(field, "a list of numbers");
      return found as number[];
    },
    nested(field) {
      const found = value(field);
      if (found === undefined) return undefined;
      if (typeof found !== "object" || found === null || Array.isArray(found)) throw refuse(field, "an object");
      return readConfigFields(found as Record<string, unknown>, file, `${path}${field}.`);
    },
    only(field, values, meaning) {
      const found = value(field);
      if (found === undefined || values.includes(found)) return;
      throw refuse(field, `absent or ${values.map((each) => JSON.stringify(each)).join(" or ")}: ${meaning}`);
    },
    refuse,
    finish(harmless) {
      for (const field of Object.keys(config)) {
        // Names with a leading underscore are notes of the library that wrote the file.
        if (read.has(field) || harmless.has(field) || field.startsWith("_") || config[field] === null) continue;
        const close = closestNames(field, read);
        throw new LoomweightError({
          code: "UNKNOWN_CONFIG_FIELD",
          problem: `the field "${path}${field}" is not known for this model family, and it may change what the model computes`,
          file,
          found: shorten(config[field]),
          fix: `${close.length === 0 ? "" : `Did you mean ${close.map((each) => `"${each}"`).join(" or ")}? `}Remove the field, or list it under the option ignoreConfig if it has no effect.`,
        });
      }
    },
  };
}

/** An `INVALID_CONFIG` error: which field of which file, what it holds, what it should hold. */
export function invalidConfig(details: {
  file: string;
  field: string;
  expected: string;
  found: unknown;
  fix?: string;
}): LoomweightError {
  const { file, field, expected, found, fix } = details;
  return new LoomweightError({
    code: "INVALID_CONFIG",
    problem: `invalid value of "${field}"`,
    file,
    expected,
    found: found === undefined ? "nothing" : shorten(found),
    fix,
  });
}

function boundsInWords({ min, max }: NumberField): string {
  const low = min === undefined ? "above 0" : `of at least ${min}`;
  return `a number ${low}${max === undefined ? "" : ` and at most ${max}`}`;
}

/** A value from a file as short JSON. */
function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

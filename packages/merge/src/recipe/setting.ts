import { LoomweightError, type OptionSpec } from "@loomweight/tensor";
import { describeValue, isLocatedList, isLocatedMap, type Located, type Place, type Scalar } from "./located.ts";

/**
 * How a recipe writes an option: one value, a gradient over the layers, or conditions on the tensor's name, each with
 * a value or gradient of its own.
 */
export type Setting =
  | { readonly kind: "value"; readonly value: LocatedScalar }
  | { readonly kind: "gradient"; readonly values: readonly LocatedScalar[] }
  | { readonly kind: "conditions"; readonly conditions: readonly Condition[] };

export interface Condition {
  /** Part of the tensor's name; undefined and `*` match every name. */
  readonly filter: string | undefined;
  readonly setting: Exclude<Setting, { kind: "conditions" }>;
}

export interface LocatedScalar {
  readonly value: Scalar;
  readonly place: Place;
}

/** A setting with where it stands and the option's name as the recipe spells it. */
export interface PlacedSetting {
  readonly setting: Setting;
  readonly place: Place;
}

/** Reads a setting and checks every value in it against `spec`. Throws `INVALID_OPTION`. */
export function readSetting(located: Located, option: string, spec: OptionSpec): PlacedSetting {
  const { value, place } = located;
  refuseRanges(located, option);
  if (isLocatedMap(value)) {
    throw settingError(
      place,
      option,
      "a { filter, value } condition must stand in a list",
      "Put a dash before `filter`.",
    );
  }
  if (!isLocatedList(value)) return { setting: readScalar(located, option, spec), place };
  if (value.length === 0)
    throw settingError(place, option, "an empty list is no gradient", "Write at least one value.");
  const conditional = value.filter((item) => isLocatedMap(item.value)).length;
  if (conditional === 0) return { setting: readGradient(value, option, spec), place };
  const stray = value.find((item) => !isLocatedMap(item.value));
  if (stray !== undefined) {
    throw settingError(
      stray.place,
      option,
      "a list holds either numbers or { filter, value } conditions, not both",
      "Write the last value as `- value: …`.",
    );
  }
  return { setting: { kind: "conditions", conditions: value.map((item) => readCondition(item, option, spec)) }, place };
}

/** A range is a number only to a search: anywhere else it has no value yet. Throws `INVALID_OPTION`. */
function refuseRanges({ value, place }: Located, option: string): void {
  if (isLocatedList(value)) for (const item of value) refuseRanges(item, option);
  if (!isLocatedMap(value)) return;
  if (value.has("search")) {
    throw settingError(
      place,
      option,
      "{ search: … } is a range to be searched, and has no value yet",
      "Search it (loomweight search RECIPE OUT --score SCRIPT), or write a number in its place.",
    );
  }
  const inner = value.get("value")?.item;
  if (inner !== undefined) refuseRanges(inner, option);
}

function readCondition(located: Located, option: string, spec: OptionSpec): Condition {
  const entries = located.value as ReadonlyMap<string, { keyPlace: Place; item: Located }>;
  for (const [key, { keyPlace }] of entries) {
    if (key !== "filter" && key !== "value") {
      throw settingError(
        keyPlace,
        option,
        `unknown key "${key}" in a condition`,
        "A condition has `filter` and `value`.",
      );
    }
  }
  const filter = entries.get("filter")?.item;
  if (filter !== undefined && filter.value !== null && typeof filter.value !== "string") {
    throw settingError(filter.place, option, `filter must be text, found ${describeValue(filter)}`);
  }
  const value = entries.get("value")?.item;
  if (value === undefined) throw settingError(located.place, option, "a condition needs a `value`");
  const inner = readSetting(value, option, spec).setting;
  if (inner.kind === "conditions") throw settingError(value.place, option, "conditions cannot be nested");
  return { filter: typeof filter?.value === "string" ? filter.value : undefined, setting: inner };
}

function readGradient(items: readonly Located[], option: string, spec: OptionSpec): Condition["setting"] {
  return { kind: "gradient", values: items.map((item) => readScalar(item, option, spec).value) };
}

function readScalar(located: Located, option: string, spec: OptionSpec) {
  const { value, place } = located;
  if (isLocatedMap(value) || isLocatedList(value) || value === null) {
    throw settingError(place, option, `expected ${spec.range}, found ${describeValue(located)}`);
  }
  return { kind: "value" as const, value: { value: spec.check(value, { option, ...place }) as Scalar, place } };
}

/**
 * The value of a setting for a tensor: `undefined` when no condition matches. `position` runs from 0 to 1 over the
 * layers of the slice (0 outside them); numbers are interpolated along a gradient.
 */
export function evaluateSetting(setting: Setting, tensorName: string, position: number): LocatedScalar | undefined {
  if (setting.kind === "value") return setting.value;
  if (setting.kind === "conditions") {
    const match = setting.conditions.find(
      ({ filter }) => filter === undefined || filter === "*" || tensorName.includes(filter),
    );
    return match === undefined ? undefined : evaluateSetting(match.setting, tensorName, position);
  }
  const { values } = setting;
  const at = position * (values.length - 1);
  const index = Math.floor(at);
  const [low, high] = [values[index], values[Math.min(index + 1, values.length - 1)]];
  if (at === index) return low;
  const share = at - index;
  if (typeof low.value === "boolean" || typeof low.value === "string") {
    // A switch between two positions of one value has that value; between different ones it is refused by its spec.
    if (low.value === high.value) return low;
    return { value: (1 - share) * Number(low.value) + share * Number(high.value), place: low.place };
  }
  return { value: (1 - share) * Number(low.value) + share * Number(high.value), place: low.place };
}

function settingError(place: Place, option: string, problem: string, fix?: string): LoomweightError {
  return new LoomweightError({ code: "INVALID_OPTION", problem, option, fix, ...place });
}

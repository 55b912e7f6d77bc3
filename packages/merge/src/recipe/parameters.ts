import { LoomweightError, type OptionSpecs, unknownName } from "@loomweight/tensor";
import { type AnyMergeMethod, recipeOptions, recipeSpelling } from "../define.ts";
import type { Located } from "./located.ts";
import { mapping } from "./read.ts";
import { evaluateSetting, type PlacedSetting, readSetting } from "./setting.ts";

/** The options that one level of a recipe sets, under the names of the method's specs. */
export interface Parameters {
  /** Of one model: `weight`, `density`, … */
  readonly input: ReadonlyMap<string, PlacedSetting>;
  /** Of the method: `lambda`, `normalize`, … */
  readonly method: ReadonlyMap<string, PlacedSetting>;
}

export const noParameters: Parameters = { input: new Map(), method: new Map() };

/**
 * Reads a `parameters` mapping. Under a model only the options of one model may stand: mergekit ignores others there,
 * which hides mistakes.
 */
export function readParameters(
  located: Located | undefined,
  method: AnyMergeMethod,
  level: "model" | "slice" | "module" | "recipe",
): Parameters {
  if (located === undefined) return noParameters;
  const ofInput = recipeOptions(method.inputOptions);
  const ofMethod = recipeOptions(method.options);
  const input = new Map<string, PlacedSetting>();
  const whole = new Map<string, PlacedSetting>();
  for (const [name, { item, keyPlace }] of mapping(located, "parameters")) {
    const own = ofInput.get(name);
    const shared = ofMethod.get(name);
    if (own !== undefined) input.set(own.option, readSetting(item, name, own.spec));
    else if (shared !== undefined && level !== "model") whole.set(shared.option, readSetting(item, name, shared.spec));
    else if (shared !== undefined) {
      throw new LoomweightError({
        code: "MISPLACED_OPTION",
        problem: `"${name}" is an option of ${method.name} as a whole, not of one model`,
        fix: "Write it under the recipe's own `parameters`.",
        ...keyPlace,
      });
    } else {
      throw unknownName({
        kind: `option of ${method.name}`,
        name,
        known: [...ofInput.keys(), ...ofMethod.keys()],
        code: "UNKNOWN_OPTION",
        ...keyPlace,
      });
    }
  }
  return { input, method: whole };
}

/** For which tensor options are asked. */
export interface SettingTarget {
  /** The name that filters see. */
  readonly name: string;
  /** 0 to 1 over the layers of the slice, 0 outside them. */
  readonly position: number;
}

/**
 * The options of `specs` for a tensor: each from the first level that has a value for it, else its default. Throws
 * `MISSING_OPTION` for a required one, naming `who` lacks it.
 */
export function resolveOptions(
  specs: OptionSpecs,
  levels: readonly ReadonlyMap<string, PlacedSetting>[],
  target: SettingTarget,
  who: string,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [option, spec] of Object.entries(specs)) {
    const name = recipeSpelling(option);
    for (const level of levels) {
      const placed = level.get(option);
      const found = placed && evaluateSetting(placed.setting, target.name, target.position);
      if (found === undefined) continue;
      // Checked again: between two points of a gradient there are values that neither of them has.
      values[option] = spec.check(found.value, { option: name, ...found.place });
      break;
    }
    if (values[option] === undefined) values[option] = spec.default;
    if (values[option] === undefined) {
      throw new LoomweightError({
        code: "MISSING_OPTION",
        problem: `${who} has no ${name}`,
        tensor: target.name,
        expected: spec.range,
        fix: `Set ${name} under parameters (a condition without filter serves every tensor).`,
      });
    }
  }
  return values;
}

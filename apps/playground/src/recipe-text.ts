import type { AnyMergeMethod } from "@loomweight/merge";
import { recipeYaml } from "@loomweight/merge";

/** Values for options that a beginning needs, where the method has no default. */
const beginnings: Readonly<Record<string, number>> = { weight: 1, density: 0.5, t: 0.5, lambda: 1 };

/**
 * A recipe to begin with: the models on the page by a method. The base is the model that is called so, else the first.
 */
export function beginningRecipe(method: AnyMergeMethod, names: readonly string[]): string {
  const { base: role, models: counts } = method.needs;
  const base = names.find((name) => /\bbase\b/i.test(name) && !name.includes("+")) ?? names[0];
  const others = names.filter((name) => name !== base);
  const withBase = role === "required";
  const pool = withBase || others.length >= Math.max(2, counts.min) ? others : names;
  const members = pool.slice(0, counts.max);
  const parameters = Object.keys(method.inputOptions).flatMap((option): (readonly [string, number])[] => {
    if (option === "weight") return [[option, withBase ? 1 : round(1 / members.length)]];
    return option === "density" || method.inputOptions[option].default === undefined
      ? [[option, beginnings[option] ?? 1]]
      : [];
  });
  const required = Object.entries(method.options).filter(
    ([, spec]) => (spec as { readonly default: unknown }).default === undefined,
  );
  return recipeYaml({
    merge_method: method.name.replaceAll("-", "_"),
    ...(withBase ? { base_model: base } : {}),
    models: members.map((model) =>
      parameters.length === 0 ? { model } : { model, parameters: Object.fromEntries(parameters) },
    ),
    ...(required.length === 0
      ? {}
      : { parameters: Object.fromEntries(required.map(([option]) => [option, beginnings[option] ?? 1])) }),
  });
}

const round = (value: number) => Math.round(value * 1000) / 1000;

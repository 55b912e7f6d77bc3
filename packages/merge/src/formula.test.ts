import { expect, test } from "vitest";
import { averageText, numberText, weightedText } from "./formula.ts";
import { mergeMethods } from "./method-list.ts";

const defaults = (specs: Readonly<Record<string, { readonly default?: unknown }>>, given: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, given[name] ?? spec.default]));

test.each(mergeMethods.map((method) => [method.name, method] as const))(
  "the formula of %s names every tensor and shows its numbers",
  (_, method) => {
    const count = Math.max(1, Math.min(2, method.needs.models.max ?? 2));
    const given = { weight: 0.625, density: 0.375, t: 0.125, scale: 0.875, normalize: false };
    const models = Array.from({ length: count }, (__, i) => ({
      name: `x${i + 1}`,
      options: defaults(method.inputOptions, given),
    }));
    const base = method.needs.base === "required" ? "base" : undefined;
    const text = method.formula?.({ base, models, options: defaults(method.options, given) }) ?? "";
    for (const name of [...models.map((model) => model.name), ...(base === undefined ? [] : [base])]) {
      expect(text).toContain(name);
    }
    const shown = Object.keys({ ...method.inputOptions, ...method.options });
    if (shown.includes("scale")) expect(text).toContain("0.875");
    if (shown.includes("density") && method.name !== "task-arithmetic") expect(text).toContain("0.375");
    if (method.name === "task-arithmetic" || method.name === "linear") expect(text).toContain("0.625");
    expect(text).not.toMatch(/undefined|NaN|\[object/);
  },
);

test("sums are written with signs, factors of one and divisors of one left out", () => {
  expect(weightedText([])).toBe("0");
  expect(
    weightedText([
      { factor: -1, text: "a" },
      { factor: 0.1 + 0.2, text: "b" },
      { factor: -2, text: "c" },
    ]),
  ).toBe("−a + 0.3·b − 2·c");
  const models = [0.5, 0.25].map((weight, i) => ({ name: `x${i}`, options: { weight } }));
  expect(averageText(models, true)).toBe("(0.5·x0 + 0.25·x1) / 0.75");
  expect(averageText(models, false)).toBe("0.5·x0 + 0.25·x1");
  expect(numberText(1 / 3)).toBe("0.333333");
});

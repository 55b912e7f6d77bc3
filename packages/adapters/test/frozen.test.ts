import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { attach } from "../src/attach/index.ts";
import type { AdapterMethod } from "../src/index.ts";
import { adapterMethods } from "../src/index.ts";
import { oneLayerModel } from "./attach-laws.ts";

const page = (name: string) => readFileSync(new URL(`../src/methods/${name}.md`, import.meta.url), "utf8");
/** Sizes that fit a layer [8, 6]; default: the method's own. */
const options: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  pvera: { rank: 2 },
  randlora: { rank: 2 },
  tinylora: { rank: 2, numbers: 4 },
  unilora: { rank: 2, length: 8, saveAssignment: true },
  vera: { rank: 2 },
};
// its fresh adapters are refused
const frozen = adapterMethods.filter((method) => method.frozen !== undefined && method.name !== "frod");

test("methods whose page lists a parameter as frozen say so in their definition", () => {
  const listed = adapterMethods.filter(({ name }) => /^\|.*\bfrozen\b/m.test(page(name)));
  expect(listed.length).toBeGreaterThan(1);
  for (const { name, frozen = [] } of listed) expect(frozen.length, name).toBeGreaterThan(0);
});

test.each(frozen.map((method) => [method.name, method] as const))("%s trains only the rest", async (name, method) => {
  const spec = { method: method as AdapterMethod, options: options[name] ?? {}, targets: ["layer"] };
  const { adapters, parameters, constants } = await attach(oneLayerModel("linear", [8, 6]), undefined, spec);
  const [{ names }] = [...adapters[0].modules.values()];
  const kept = new Set<string>(method.frozen);
  expect(Object.keys(names).some((param) => kept.has(param))).toBe(true);
  expect(Object.keys(parameters).length).toBeGreaterThan(0);
  for (const [param, own] of Object.entries(names)) {
    if (kept.has(param)) expect(Object.keys(parameters), param).not.toContain(own);
    if (kept.has(param)) expect(Object.keys(constants), param).toContain(own);
  }
});

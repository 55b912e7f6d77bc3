import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { adapterMethods, blockMethods } from "../src/index.ts";

// Methods that cannot be put through the laws, with the reason.
const exceptions: Readonly<Record<string, string>> = {
  frod: "its basis is made from all layers of a model by PEFT; its own tests hold it to the law of apply and weight",
};

test.for([...adapterMethods, ...blockMethods])(
  "$name is held to the laws of its contract",
  ({ name, scope }, context) => {
    const reason = exceptions[name];
    if (reason !== undefined) return context.skip(reason);
    const source = readFileSync(new URL(`../src/methods/${name}.test.ts`, import.meta.url), "utf8");
    expect(source).toMatch(scope === "block" ? /^\s*blockContract\(/m : /^\s*adapterContract\(/m);
  },
);

test("kinds of layers that a method adapts are those that its cases have", () => {
  const missing: string[] = [];
  for (const { name, kinds } of adapterMethods) {
    if (exceptions[name] !== undefined) continue;
    const source = readFileSync(new URL(`../src/methods/${name}.test.ts`, import.meta.url), "utf8");
    const cases = new Set([...source.matchAll(/kind: "(\w+)"/g)].map(([, kind]) => kind));
    missing.push(...kinds.filter((kind) => !cases.has(kind)).map((kind) => `${name}: ${kind}`));
  }
  expect(missing).toEqual([]);
});

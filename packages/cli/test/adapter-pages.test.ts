import { readdirSync, readFileSync } from "node:fs";
import { adapterMethods, blockMethods } from "@loomweight/adapters";
import { readYaml } from "@loomweight/merge";
import { readTrainConfig } from "@loomweight/train/node";
import { expect, test } from "vitest";

// What the page of an adapter method prints for `loomweight train` is a configuration that the command takes.

const pages = new URL("../../adapters/src/methods/", import.meta.url);
const printed = readdirSync(pages)
  .filter((name) => name.endsWith(".md"))
  .flatMap((name) => {
    const page = readFileSync(new URL(name, pages), "utf8");
    const region = page.slice(page.indexOf("<!-- example:begin -->"), page.indexOf("<!-- example:end -->"));
    return [...region.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => [name.slice(0, -3), match[1]] as const);
  });

test.for(printed)("the configuration on the page of %s", ([name, yaml]) => {
  const raw = readYaml(`model: base\nout: out\ndata: { train: train.txt }\n${yaml}`, "train.yml");
  const { adapter } = readTrainConfig(raw, "train.yml");
  expect("method" in adapter && adapter.method.name).toBe(name);
});

test("every method but those that cannot be trained from files has one", () => {
  const without = [...adapterMethods, ...blockMethods].filter(({ name }) => !printed.some(([page]) => page === name));
  expect(without.map(({ name }) => name)).toEqual(["frod", "hyperformer"]);
});

import { existsSync, readFileSync } from "node:fs";
import * as graph from "@loomweight/graph";
import * as nn from "@loomweight/graph/nn";
import * as node from "@loomweight/graph/node";
import * as optim from "@loomweight/optim";
import * as tensors from "@loomweight/tensor";
import { expect, test } from "vitest";
import * as nas from "../src/index.ts";

const packages = { tensor: tensors, graph, "graph/nn": nn, "graph/node": node, optim, nas };
const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

test("the README's example prints what it says", async () => {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(readme) ?? [];
  const said = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)/g)].map(([, comment]) => comment);
  const body = code.replace(
    /import \{([^}]*)\} from "@loomweight\/([a-z/]+)";/g,
    (_, names, from) => `const {${names}} = packages["${from}"];`,
  );
  const AsyncFunction = (async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<void>;
  const logged: string[] = [];
  await new AsyncFunction("packages", "console", body)(packages, { log: (value: unknown) => logged.push(`${value}`) });
  expect(said).toHaveLength(2);
  expect(logged).toEqual(said);
});

test("what the README links to is there", () => {
  for (const [, path] of readme.matchAll(/\]\((?!http)([^)#]+)\)/g))
    expect(existsSync(new URL(`../${path}`, import.meta.url)), path).toBe(true);
});

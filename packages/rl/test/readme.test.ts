import { readFileSync } from "node:fs";
import * as graph from "@loomweight/graph";
import * as graphNode from "@loomweight/graph/node";
import * as optim from "@loomweight/optim";
import * as tensor from "@loomweight/tensor";
import { expect, test } from "vitest";
import * as library from "../src/index.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

test("the example of the README runs as it is printed, and the policy is paid more at the end", async () => {
  const packages = {
    "@loomweight/graph": graph,
    "@loomweight/graph/node": graphNode,
    "@loomweight/optim": optim,
    "@loomweight/rl": library,
    "@loomweight/tensor": tensor,
  };
  const AsyncFunction = (async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<unknown>;
  const lines: [number, number[], number[]][] = [];
  const [code] = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, found]) =>
    found.replace(/import \{([^}]*)\} from "([^"]*)";/g, 'const {$1} = packages["$2"];'),
  );
  await new AsyncFunction("packages", "console", code)(packages, {
    log: (...line: unknown[]) => lines.push(line as (typeof lines)[number]),
  });
  expect(lines.map(([step]) => step)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  const paid = ([, rewards]: (typeof lines)[number]) => rewards[0] + rewards[1];
  expect(paid(lines[29])).toBeGreaterThan(paid(lines[0]) + 0.2);
});

test("the README names every function of its table", () => {
  for (const name of ["groupAdvantages", "policyLoss", "objectiveGram", "hypervolume", "trainPolicy"]) {
    expect(Object.keys(library)).toContain(name);
    expect(readme).toContain(`\`${name}\``);
  }
});

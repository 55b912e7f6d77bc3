import { readFileSync } from "node:fs";
import * as graph from "@loomweight/graph";
import * as node from "@loomweight/graph/node";
import * as training from "@loomweight/graph/training";
import * as tensors from "@loomweight/tensor";
import { expect, test } from "vitest";
import * as optim from "../src/index.ts";

const packages = { tensor: tensors, graph, "graph/node": node, "graph/training": training, optim };
const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const examples = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code);

/** Runs an example as it is printed; what it logs, and the value of its `optimizer` where it has one. */
async function run(example: string): Promise<{ lines: unknown[]; optimizer?: unknown }> {
  const lines: unknown[] = [];
  const body = example.replace(
    /import \{([^}]*)\} from "@loomweight\/([a-z/]+)";/g,
    (_, names, from) => `const {${names}} = packages["${from}"];`,
  );
  const AsyncFunction = (async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<unknown>;
  const returned = `${body}\nreturn typeof optimizer === "undefined" ? undefined : optimizer;`;
  const optimizer = await new AsyncFunction("packages", "console", returned)(packages, {
    log: (value: unknown) => lines.push(value),
  });
  return { lines, optimizer };
}

test("the first example of the README prints what it says", async () => {
  expect((await run(examples[0])).lines).toEqual([["2.000", "-1.000"]]);
});

test("its groups take parameters as it says", async () => {
  const { optimizer } = await run(examples[1]);
  const state = (optimizer as ReturnType<typeof optim.groups>).init({
    "model.embed.weight": tensors.tensor([[1, 2]]),
    "layers.0.weight": tensors.tensor([[1, 2]]),
    "layers.0.bias": tensors.tensor([1]),
  });
  expect(Object.keys(state).sort()).toEqual([
    "exp_avg/layers.0.bias",
    "exp_avg/model.embed.weight",
    "exp_avg_sq/layers.0.bias",
    "exp_avg_sq/model.embed.weight",
    "momentum_buffer/layers.0.weight",
  ]);
});

test("the README names every schedule", () => {
  const schedules = Object.keys(optim).filter((name) => name.endsWith("Schedule"));
  expect(schedules.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
});

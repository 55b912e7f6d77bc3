import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as adapters from "@loomweight/adapters";
import * as checkpointNode from "@loomweight/checkpoint/node";
import { fixtureArea } from "@loomweight/fixtures";
import * as graphNode from "@loomweight/graph/node";
import * as models from "@loomweight/models";
import * as tensor from "@loomweight/tensor";
import { afterAll, describe, expect, test } from "vitest";
import * as main from "../src/index.ts";
import * as node from "../src/node/index.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const area = fixtureArea("models");
const folder = mkdtempSync(join(tmpdir(), "loomweight-train-readme-"));
const before = process.cwd();
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

test("the public names are these", () => {
  expect(Object.keys(main).sort()).toEqual([
    "blockCheckpoints",
    "cordaStart",
    "evaStart",
    "loraGaStart",
    "objectiveLoss",
    "objectives",
    "otherInputs",
    "trainAdapter",
  ]);
  expect(Object.keys(node).sort()).toEqual(["readTrainConfig", "trainAdapterFolder"]);
  for (const name of [...Object.keys(main), ...Object.keys(node)]) expect(readme).toContain(`\`${name}\``);
});

describe.skipIf(area === undefined)("with the scribe", () => {
  test("the examples of the README run as they are printed", async () => {
    cpSync(join(area ?? "", "scribe", "scribe-base"), join(folder, "scribe"), { recursive: true });
    writeFileSync(join(folder, "train.jsonl"), '{"text":"All: Speak, speak."}\n{"text":"All: Resolved."}\n');
    process.chdir(folder);
    const packages = {
      "@loomweight/adapters": adapters,
      "@loomweight/checkpoint/node": checkpointNode,
      "@loomweight/graph/node": graphNode,
      "@loomweight/models": models,
      "@loomweight/tensor": tensor,
      "@loomweight/train": main,
      "@loomweight/train/node": node,
    };
    const AsyncFunction = (async () => undefined).constructor as new (
      ...parts: string[]
    ) => (...values: unknown[]) => Promise<unknown>;
    const lines: unknown[][] = [];
    const log = (...line: unknown[]) => lines.push(line);
    const [first, second] = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) =>
      code.replace(/import \{([^}]*)\} from "([^"]*)";/g, 'const {$1} = packages["$2"];'),
    );
    await new AsyncFunction("packages", "console", first)(packages, { log });
    expect(String(lines[0][0])).toMatch(/^8 modules, last loss \d\.\d+$/);
    const config = await new AsyncFunction("packages", "console", `${second}; return config;`)(packages, { log });
    expect(JSON.parse(String(config))).toMatchObject({ peft_type: "LORA", r: 4, lora_alpha: 8 });
    const losses = lines.slice(1).map(([, loss]) => Number(loss));
    expect(losses).toHaveLength(8);
    expect(losses[7]).toBeLessThan(losses[0] - 0.2);
  });
});

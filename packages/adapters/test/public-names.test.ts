import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileSetFromMap, openCheckpointFromFiles, writeSafetensors } from "@loomweight/checkpoint";
import type { OnnxModel } from "@loomweight/graph";
import { expect, test } from "vitest";
import * as attachNames from "../src/attach/index.ts";
import * as main from "../src/index.ts";
import * as node from "../src/node/index.ts";
import { smallAdapter, smallConfig, smallModel } from "./small.ts";
import { twoBlocks } from "./two-blocks.ts";

test("the public names are these", () => {
  const exported = Object.entries(main);
  const isMethod = (value: unknown) => typeof value === "object" && value !== null && "scope" in value;
  expect(exported.filter(([, value]) => isMethod(value)).map(([, value]) => value)).toEqual(
    expect.arrayContaining([...main.adapterMethods, ...main.blockMethods]),
  );
  const names = exported.filter(([, value]) => !isMethod(value)).map(([name]) => name);
  expect(names.sort()).toEqual([
    "adapterMethods",
    "adapterRandom",
    "blockMethods",
    "compareFolded",
    "corda",
    "countBlockParameters",
    "defineAdapter",
    "defineBlockAdapter",
    "dimSize",
    "distributeRanks",
    "elbow",
    "eva",
    "evaCount",
    "evaDirections",
    "evaMetrics",
    "evaOptions",
    "factoredSquares",
    "foldAdapters",
    "foldedCheckpoint",
    "foreignFile",
    "freshAdapter",
    "identityPenalty",
    "incrementalPca",
    "layerOf",
    "loraGa",
    "lowRankScale",
    "missToLora",
    "newAdapterFiles",
    "openAdapter",
    "openFolded",
    "orthogonalPenalty",
    "paramShape",
    "planFold",
    "rankSweep",
    "readAdapter",
    "readForeignAdapters",
    "requireNoWrapped",
    "ringTransform",
    "shiftSpectrum",
    "taskSchedule",
    "taskShares",
    "unfoldAdapters",
    "writeAdapter",
  ]);
  expect(Object.keys(attachNames).sort()).toEqual([
    "attach",
    "attachedFiles",
    "attachedModel",
    "findBlock",
    "findLayers",
    "isBlockSpec",
    "linearTargets",
    "modulePaths",
    "openAnyAdapter",
    "openBlockAdapter",
    "targetLayers",
    "weightTensor",
  ]);
  expect(Object.keys(node).sort()).toEqual([
    "convertAdapter",
    "foldModel",
    "openAdapterFolder",
    "openFoldedFolders",
    "unfoldModel",
  ]);
});

test("the examples of the README run as they are printed", async () => {
  const root = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
  try {
    const { config, tensors } = smallAdapter();
    const files = {
      "qwen2-0.5b/model.safetensors": writeSafetensors(smallModel()),
      "qwen2-0.5b/config.json": new TextEncoder().encode(JSON.stringify(smallConfig)),
      "my-lora/adapter_config.json": new TextEncoder().encode(JSON.stringify(config)),
      "my-lora/adapter_model.safetensors": writeSafetensors(tensors),
    };
    for (const [name, bytes] of Object.entries(files)) {
      mkdirSync(join(root, name, ".."), { recursive: true });
      writeFileSync(join(root, name), bytes);
    }
    const given = (folder: string) =>
      new Map(
        Object.entries(files).flatMap(([name, bytes]) =>
          name.startsWith(`${folder}/`) ? [[name.slice(folder.length + 1), bytes]] : [],
        ),
      );
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const [first, second, third, fourth] = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) =>
      match[1]
        .replace(/import \{([^}]*)\} from "([^"]*)";/g, 'const {$1} = packages["$2"];')
        .replaceAll('"qwen2-0.5b', `"${root}/qwen2-0.5b`)
        .replaceAll('"my-lora', `"${root}/my-lora`),
    );
    const AsyncFunction = (async () => undefined).constructor as new (
      ...parts: string[]
    ) => (...values: unknown[]) => Promise<unknown>;
    const lines: unknown[] = [];
    const packages = {
      "@loomweight/adapters": main,
      "@loomweight/adapters/attach": attachNames,
      "@loomweight/adapters/node": node,
      "@loomweight/checkpoint": { fileSetFromMap, openCheckpointFromFiles },
    };
    await new AsyncFunction("packages", "console", first)(packages, {
      log: (...line: unknown[]) => lines.push(...line),
    });
    expect(lines).toEqual(["4 tensors changed"]);
    await new AsyncFunction("packages", "console", fourth)(packages, {
      log: (...line: unknown[]) => lines.push(...line),
    });
    expect(lines).toEqual(["4 tensors changed", "base"]);
    expect(readFileSync(join(root, "my-lora-kohya", "pytorch_lora_weights.safetensors")).length).toBeGreaterThan(100);
    const run = new AsyncFunction("packages", "baseFiles", "adapterFiles", "config", `${second}; return weight;`);
    expect(await run(packages, given("qwen2-0.5b"), given("my-lora"), smallConfig)).toMatchObject({
      dtype: "float32",
      shape: [4, 4],
    });
    const blocks = new AsyncFunction("packages", "model", `${third}; return { config, exported };`);
    const made = (await blocks(packages, twoBlocks())) as { config: string; exported: OnnxModel };
    expect(JSON.parse(made.config)).toMatchObject({
      adapter_type: "adaptformer",
      sites: ["blocks.0.mlp", "blocks.1.mlp"],
    });
    expect([...made.exported.graph.initializers.keys()]).toContain("blocks.0.mlp.down");
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

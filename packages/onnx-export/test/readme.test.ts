import * as fs from "node:fs";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as adaptersNode from "@loomweight/adapters/node";
import * as checkpointNode from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases } from "@loomweight/fixtures";
import * as graphNode from "@loomweight/graph/node";
import ts from "typescript";
import { afterAll, expect, test } from "vitest";
import * as onnxExport from "../src/index.ts";
import * as onnxExportNode from "../src/node/index.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const scribe = join(fixtureArea("models") ?? "", "scribe");
const [adapter] = fixtureCases("models", { within: "scribe", marker: "adapter_config.json" });
const folder = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
const before = process.cwd();
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(adapter === undefined)("the example of adapters runs as it is printed", { timeout: 60_000 }, async () => {
  cpSync(join(scribe, "scribe-base"), join(folder, "base"), { recursive: true });
  cpSync(join(scribe, adapter), join(folder, "adapter"), { recursive: true });
  process.chdir(folder);
  const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code);
  const code = blocks.find((block) => block.includes("createAdapterSession")) as string;
  const packages = {
    "@loomweight/adapters/node": adaptersNode,
    "@loomweight/checkpoint/node": checkpointNode,
    "@loomweight/graph/node": graphNode,
    "@loomweight/onnx-export": onnxExport,
    "@loomweight/onnx-export/node": onnxExportNode,
    "node:fs": fs,
  };
  const { outputText } = ts.transpileModule(code, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const body = outputText.replace(
    /import \{([^}]*)\} from "([^"]+)";/g,
    (_, names, from) => `const {${names}} = packages["${from}"];`,
  );
  const AsyncFunction = (async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<void>;
  const logged: unknown[][] = [];
  const console = { log: (...values: unknown[]) => logged.push(values) };
  await new AsyncFunction("packages", "console", body)(packages, console);
  expect((logged[0][0] as string[]).slice(0, 3)).toEqual(["input_ids", "attention_mask", "position_ids"]);
  expect((logged[0][0] as string[]).some((name) => name.includes("lora"))).toBe(false);
});

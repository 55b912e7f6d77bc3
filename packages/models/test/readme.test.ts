import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as checkpointNode from "@loomweight/checkpoint/node";
import { fixtureArea } from "@loomweight/fixtures";
import * as graph from "@loomweight/graph";
import ts from "typescript";
import { afterAll, describe, expect, test } from "vitest";
import * as models from "../src/index.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const area = fixtureArea("architectures");
const folder = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
const before = process.cwd();
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

test("the README names every family, model_type and task, and no others", () => {
  const rows = [...readme.matchAll(/^\| `([\w-]+)` +\| ((?:`[\w-]+`(?:, )?)+) *\|/gm)];
  const said = Object.fromEntries(
    rows.map(([, name, types]) => [name, [...types.matchAll(/`([^`]+)`/g)].map((each) => each[1])]),
  );
  expect(said).toEqual(Object.fromEntries(models.families.map(({ name, modelTypes }) => [name, [...modelTypes]])));
  for (const task of models.tasks) {
    const shown = task === "automatic-speech-recognition" ? "speech recognition" : task;
    expect(readme, task).toContain(`| ${shown}`);
  }
});

describe.skipIf(area === undefined)("with a recorded model", () => {
  test("the example runs as it is printed", async () => {
    cpSync(join(area ?? "", "llama"), join(folder, "scribe-base"), { recursive: true });
    process.chdir(folder);
    const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1] as string;
    const packages = {
      "@loomweight/models": models,
      "@loomweight/graph": graph,
      "@loomweight/checkpoint/node": checkpointNode,
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
    expect(logged[0].slice(0, 2)).toEqual(["llama", "text-generation"]);
    expect(logged[0][2]).toContain("past_key_values.1.value");
  });
});

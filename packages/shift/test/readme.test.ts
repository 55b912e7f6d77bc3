import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import * as files from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as node from "@loomweight/graph/node";
import { writeOnnxFile } from "@loomweight/graph/node";
import * as tensors from "@loomweight/tensor";
import { expect, test } from "vitest";
import * as shift from "../src/index.ts";
import { normals, smallModel } from "./networks.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const examples = [...readme.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code);

/** Runs printed code with its imports taken from here; returns what it logs, and what it names in `keep`. */
async function runExample(code: string, given: Record<string, unknown>, folder: string, keep: string) {
  const lines: unknown[] = [];
  const packages = {
    "@loomweight/shift": shift,
    "@loomweight/tensor": tensors,
    "@loomweight/graph/node": node,
    "node:fs/promises": files,
  };
  const body = code
    .replace(/import \{([^}]*)\} from "([^"]+)";/g, (_, names, from) => `const {${names}} = packages["${from}"];`)
    .replace(/"((?:classifier|state)\.\w+)"/g, (_, name) => JSON.stringify(join(folder, name)));
  const AsyncFunction = (async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<Record<string, unknown>>;
  const run = new AsyncFunction("packages", "console", ...Object.keys(given), `${body}\nreturn { ${keep} };`);
  const kept = await run(packages, { log: (value: unknown) => lines.push(value) }, ...Object.values(given));
  return { lines, kept };
}

test("the first example gives what it says", async () => {
  const { lines } = await runExample(examples[0], {}, "", "");
  expect(1 / (1 + Math.exp(-0.1))).toBeCloseTo(0.52, 2);
  expect((lines[0] as Float32Array)[2]).toBeCloseTo(0.72, 2);
});

test("the second example adapts, saves and takes up again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
  await writeOnnxFile(join(folder, "classifier.onnx"), smallModel(2, "batch", "float32"));
  const stream = [1, 2, 3].map((seed) => normals(seed, [6, 4], "float32"));
  const { lines, kept } = await runExample(examples[1], { stream }, folder, "adapter, resumed, runtime");
  expect(lines).toHaveLength(3);
  expect((lines[0] as { entropy: number }).entropy).toBeGreaterThan(0);
  const { adapter, resumed, runtime } = kept as Record<"adapter" | "resumed", shift.Adapter<shift.TentState>> & {
    runtime: { close(): Promise<void> };
  };
  expect(resumed.state).toEqual(adapter.state);
  expect(await resumed.step(stream[0])).toEqual(await adapter.step(stream[0]));
  await runtime.close();
  rmSync(folder, { recursive: true });
});

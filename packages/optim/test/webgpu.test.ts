import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createRuntime } from "@loomweight/graph/node";
import { expect, test } from "vitest";
import { webgpuEnvironment } from "../../graph/test/runtime/webgpu-driver.ts";
import { runAllOptimizers } from "./webgpu-cases.ts";

const environment = webgpuEnvironment();

test("WebGPU steps every optimizer as the CPU does, with the fallback to it off", async (context) => {
  if (environment === undefined) return context.skip("no Vulkan driver");
  const runtime = await createRuntime({ threads: 1 });
  const expected = await runAllOptimizers(runtime);
  await runtime.close();
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--conditions=@loomweight/source", "--import", "tsx", fileURLToPath(new URL("./webgpu-run.ts", import.meta.url))],
    { env: { ...process.env, ...environment, NODE_OPTIONS: "" }, maxBuffer: 2 ** 26 },
  );
  const found: Record<string, number[]> = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  expect(Object.keys(found)).toEqual(Object.keys(expected));
  for (const [name, numbers] of Object.entries(found)) {
    const gaps = numbers.map(
      (value, i) => Math.abs(value - expected[name][i]) / Math.max(1, Math.abs(expected[name][i])),
    );
    expect(Math.max(...gaps), name).toBeLessThan(1e-4);
  }
}, 120_000);

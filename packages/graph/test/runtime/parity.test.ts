import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import { createRuntime } from "../../src/node/index.ts";
import { createRuntime as createWebRuntime } from "../../src/web/index.ts";
import { runParityCases } from "./parity-steps.ts";
import { webgpuEnvironment } from "./webgpu-driver.ts";

let reference: Record<string, number[]>;
beforeAll(async () => {
  const runtime = await createRuntime({ threads: 1 });
  reference = await runParityCases(runtime);
  await runtime.close();
});

function expectSame(results: Record<string, number[]>): void {
  expect(Object.keys(results)).toEqual(Object.keys(reference));
  for (const [name, numbers] of Object.entries(results)) {
    expect(numbers.length, name).toBe(reference[name].length);
    const largest = numbers.reduce((most, value, i) => Math.max(most, Math.abs(value - reference[name][i])), 0);
    expect(largest, name).toBeLessThan(1e-4);
    expect(numbers.every(Number.isFinite), name).toBe(true);
  }
}

test("onnxruntime-web's WebAssembly trains as onnxruntime-node's CPU does", async () => {
  const runtime = await createWebRuntime();
  expectSame(await runParityCases(runtime));
  await runtime.close();
});

const environment = webgpuEnvironment();
test.skipIf(environment === undefined)(
  `WebGPU trains as the CPU does, with the fallback to it off${environment ? "" : " (skipped: no Vulkan driver)"}`,
  async () => {
    const script = fileURLToPath(new URL("./parity-webgpu.ts", import.meta.url));
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--conditions=@loomweight/source", "--import", "tsx", script],
      { env: { ...process.env, ...environment, NODE_OPTIONS: "" }, maxBuffer: 2 ** 26 },
    );
    expectSame(JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
  },
  120_000,
);

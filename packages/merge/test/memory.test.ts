import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Checkpoint } from "@loomweight/checkpoint";
import { afterAll, expect, test } from "vitest";
import { executePlan } from "../src/execute.ts";
import { engineBytes, engineSizesWithin, leastEngineMemory } from "../src/lazy/engine.ts";
import { mergeMethods } from "../src/method-list.ts";
import { linear } from "../src/methods/linear.ts";
import { ties } from "../src/methods/ties.ts";
import { mergeModel } from "../src/node/index.ts";
import type { MergePlan } from "../src/plan/plan.ts";
import { differingFiles, smallRecipe, writeSmallModels } from "./small-models.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-memory-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const megabyte = 2 ** 20;

const shape = [1500, 1000];
const elements = shape[0] * shape[1];

/** Bytes that a checkpoint was asked to read into, or a sink given, and that are not free again; and the most there were. */
interface Flight {
  now: number;
  most: number;
}

const later = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A checkpoint of two float32 tensors of 6 MB whose reads take a while. */
function slowCheckpoint(seed: number, flight: Flight): Checkpoint {
  const numbers = Float32Array.from({ length: elements }, (_, i) => (((i * 7919 + seed * 104729) % 2003) - 1001) / 512);
  const bytes = new Uint8Array(numbers.buffer);
  const info = { dtype: "float32" as const, shape, byteLength: bytes.length, file: "", byteOffset: 0 };
  return {
    location: `model ${seed}`,
    metadata: {},
    tensors: new Map(["a", "b"].map((name) => [name, { name, ...info }])),
    async readBytes(_, { start = 0, end = bytes.length, into = new Uint8Array(end - start) } = {}) {
      flight.now += into.length;
      flight.most = Math.max(flight.most, flight.now);
      await later();
      into.set(bytes.subarray(start, end));
      flight.now -= into.length;
      return into;
    },
    async read() {
      throw new Error("read by bytes only");
    },
    async close() {},
  };
}

async function run(method: typeof linear | typeof ties, memory: number | undefined) {
  const flight: Flight = { now: 0, most: 0 };
  const checkpoints = [0, 1, 2].map((seed) => slowCheckpoint(seed, flight));
  const inputs = [1, 2].map((model) => ({ model, options: { weight: 0.5, density: 0.3 } }));
  const options = { normalize: true, lambda: 1, rescale: true, int8Mask: false };
  const plan = {
    method: method.name,
    models: ["base", "x", "y"],
    tensors: ["a", "b"].map((tensor) => ({
      name: tensor,
      dtype: "float32",
      shape,
      base: method === ties ? { model: 0, tensor } : undefined,
      inputs: inputs.map((input) => ({ ...input, tensor })),
      options,
    })),
    warnings: [],
  } as unknown as MergePlan;
  const out = new Map(["a", "b"].map((name) => [name, new Uint8Array(4 * elements)]));
  const sink = async (name: string, start: number, bytes: Uint8Array) => {
    const count = bytes.length;
    flight.now += count;
    flight.most = Math.max(flight.most, flight.now);
    await later();
    out.get(name)?.set(bytes, start);
    flight.now -= count;
  };
  await executePlan(plan, method, checkpoints, sink, { memory });
  return { out, most: flight.most };
}

test("bytes in flight stay within the memory that is given, and the result is the same", async () => {
  for (const method of [linear, ties]) {
    const plenty = await run(method, undefined);
    const little = await run(method, 8 * megabyte);
    expect(plenty.most).toBeGreaterThan(16 * megabyte);
    expect(little.most).toBeLessThanOrEqual(8 * megabyte);
    expect(little.most).toBeGreaterThan(100_000);
    for (const [name, bytes] of plenty.out) expect(Buffer.compare(bytes, little.out.get(name) as Uint8Array)).toBe(0);
  }
});

test("sizes of an engine keep within its memory and never exceed the default ones", () => {
  for (const memory of [leastEngineMemory, 10 * megabyte, 64 * megabyte, 2 ** 40]) {
    const { tileElements, streamBytes, residentBytes, heldBytes, kernelBytes } = engineSizesWithin(memory);
    const outputTiles = 2 * tileElements * 8;
    expect(streamBytes + residentBytes + heldBytes + outputTiles).toBeLessThanOrEqual(memory);
    expect(tileElements % 8192).toBe(0);
    expect(kernelBytes).toBeLessThanOrEqual(engineBytes);
  }
  expect(engineSizesWithin(2 ** 40).tileElements).toBe(2 ** 20);
});

test("a merge with little memory writes the same bytes, in one thread and in two", async () => {
  await writeSmallModels(folder, 3);
  const methods = mergeMethods.filter(({ name }) => ["ties", "dare-ties", "della", "sce"].includes(name));
  expect(methods.length).toBe(4);
  for (const method of methods) {
    const whole = join(folder, "whole");
    await mergeModel(smallRecipe(method), whole, { folder, workers: 1, force: true });
    for (const workers of [1, 2]) {
      const out = join(folder, "small");
      await mergeModel(smallRecipe(method), out, { folder, workers, memory: 8 * megabyte, force: true });
      expect(differingFiles(whole, out)).toEqual([]);
    }
  }
}, 60_000);

test("memory that is no number of bytes, or too little for the threads, is refused", async () => {
  const merge = (memory: number, workers: number) =>
    mergeModel(smallRecipe(linear), join(folder, "never"), { folder, memory, workers });
  for (const memory of [0, 1000, 1.5, Number.NaN, 2 ** 23 - 1]) {
    await expect(merge(memory, 1)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  }
  await expect(merge(8 * megabyte, 3)).rejects.toThrow(/12582912 bytes for 3 workers/);
});

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "@loomweight/checkpoint";
import { fixtureArea, fixtureCases, isBundledSubset, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { describe, expect, type TestContext, test } from "vitest";
import { adapterMethods, foldAdapters, writeAdapter } from "../src/index.ts";
import { openAdapterFolder } from "../src/node/index.ts";
import type { Adapter } from "../src/peft/adapter.ts";
import { castAll, fromValues, memoryCheckpoint, valuesOf } from "./memory.ts";

interface Expected {
  readonly base: string;
  readonly base_dtype?: "float32" | "bfloat16" | "float16";
  readonly peft_type?: string;
  readonly merge?: string;
  readonly changed?: readonly string[];
}
interface Difference {
  readonly case: string;
  readonly tensor: string;
  readonly reason: string;
}

/** Types of every method here. */
const builtTypes = new Set(adapterMethods.flatMap(({ files }) => files.peftTypes));
/** Absolute, of the folder's README: where a decomposition of the base is repeated. */
const decompositions = /pissa|olora|kasa|osf|psoft|frod|deft_qr/;
const differences = readFixtureJson<Difference[]>(join(import.meta.dirname, "../differences.json"));
const area = fixtureArea("peft") ?? "";
/** Absolute, of the folder's README; float32 weights that need no decomposition of the base. */
const tolerance = 2e-6;

/** Recorded cases; one that is skipped where they are not here. */
function recorded(within: string): string[] {
  const names = fixtureCases("peft", { within });
  return names.length > 0 ? names : [absent];
}
const absent = "(no recorded cases here)";

async function openBase(
  expected: Expected,
): Promise<{ checkpoint: Checkpoint; config: Record<string, unknown>; tensors: Map<string, Tensor> }> {
  const folder = join(area, expected.base);
  const tensors = castAll(readFixtureTensors(join(folder, "model.safetensors")), expected.base_dtype ?? "float32");
  const checkpoint = await memoryCheckpoint(tensors, expected.base);
  return { checkpoint, config: readFixtureJson(join(folder, "config.json")), tensors };
}

/** Compares every recorded merged tensor, and that nothing else changed. */
async function compare(
  name: string,
  folded: Checkpoint,
  base: ReadonlyMap<string, Tensor>,
  folder: string,
  changed: readonly string[],
) {
  const recorded = new Map(
    [...readFixtureTensors(join(folder, "expected.safetensors"))].flatMap(([key, tensor]) =>
      key.startsWith("merged/") ? [[key.slice("merged/".length), tensor] as const] : [],
    ),
  );
  expect([...recorded.keys()].sort()).toEqual([...changed].sort());
  const apart = new Set<string>();
  for (const [key, expected] of recorded) {
    const layers = expertLayers(key, base);
    if (layers.length > 0) {
      // PEFT's model holds all experts in one tensor, the file a linear layer for each.
      const values = await Promise.all(layers.map(async (name) => [...valuesOf(await folded.read(name))]));
      for (const name of layers) apart.add(name);
      const all = fromValues(Float64Array.from(values.flat()), "float32", expected.shape);
      compareTensor(name, key, all, expected, undefined);
      continue;
    }
    // A tied head is recorded beside the embedding that stores it.
    const stored = folded.tensors.has(key) ? key : "transformer.wte.weight";
    const ours = await folded.read(stored);
    expect([key, ours.dtype, ours.shape]).toEqual([key, expected.dtype, expected.shape]);
    compareTensor(name, key, ours, expected, base.get(stored) as Tensor);
  }
  for (const [key, tensor] of base) {
    if (recorded.has(key) || apart.has(key)) continue;
    expect(await folded.read(key), key).toEqual(tensor);
  }
}

/** Names under which a base stores the parts of a tensor of experts, in its order. */
function expertLayers(key: string, base: ReadonlyMap<string, Tensor>): string[] {
  const parameter = key.slice(key.lastIndexOf(".") + 1);
  const names = parameter === "gate_up_proj" ? ["gate_proj", "up_proj"] : [parameter];
  const layers: string[] = [];
  for (let expert = 0; ; expert++) {
    const own = names.map((name) => `${key.slice(0, -parameter.length)}${expert}.${name}.weight`);
    if (!own.every((name) => base.has(name))) return layers;
    layers.push(...own);
  }
}

function compareTensor(name: string, key: string, ours: Tensor, expected: Tensor, before: Tensor | undefined) {
  const [a, b] = [valuesOf(ours), valuesOf(expected)];
  if (ours.dtype === "float32") {
    const worst = a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
    expect(worst, key).toBeLessThanOrEqual(decompositions.test(name) ? 2e-5 : tolerance);
    return;
  }
  const equal = ours.data.length === expected.data.length && a.every((value, i) => value === b[i]);
  const listed = differences.some((each) => each.case === name && each.tensor === key);
  // What is listed must differ, what is not must not.
  expect(`${key} ${equal ? "equal" : "differs"}`).toBe(`${key} ${listed ? "differs" : "equal"}`);
  if (!listed) return;
  // PEFT rounds the update and then the sum: at most half a unit each, at the larger of weight and update.
  const w = valuesOf(before as Tensor);
  for (let i = 0; i < a.length; i++) {
    const allowed = unit(Math.max(Math.abs(w[i]), Math.abs(b[i]), Math.abs(b[i] - w[i])), ours.dtype);
    expect(Math.abs(a[i] - b[i]), `${key} [${i}]`).toBeLessThanOrEqual(allowed);
  }
}

/** One unit in the last place at a value. */
function unit(value: number, dtype: string): number {
  const [bits, smallest] = dtype === "bfloat16" ? [7, -126] : [10, -14];
  return 2 ** (Math.max(smallest, Math.floor(Math.log2(Math.abs(value) || 2 ** smallest))) - bits);
}

async function adapterOf(folder: string, context: TestContext): Promise<Adapter> {
  const type = readFixtureJson<{ peft_type: string }>(join(folder, "adapter_config.json")).peft_type;
  try {
    return await openAdapterFolder(folder);
  } catch (error) {
    if (!(error instanceof LoomweightError) || error.code !== "UNSUPPORTED_ADAPTER") throw error;
    expect([...builtTypes]).not.toContain(type);
    expect(error.message).toContain(type);
    return context.skip(`${type}: ${error.details.problem}`);
  }
}

describe("adapters that PEFT merged", () => {
  test.for(recorded("cases"))("%s", async (name, context) => {
    if (name === absent) return context.skip("the references are not in this copy");
    const folder = join(area, "cases", name);
    const expected = readFixtureJson<Expected>(join(folder, "expected.json"));
    const adapter = await adapterOf(folder, context);
    const base = await openBase(expected);
    if (expected.merge?.startsWith("refused")) {
      expect(() => foldAdapters(base, [adapter])).toThrow(expect.objectContaining({ code: "UNSUPPORTED_LAYER" }));
      return;
    }
    const { checkpoint } = foldAdapters(base, [adapter]);
    await compare(name, checkpoint, base.tensors, folder, expected.changed ?? []);
  });
});

describe("several adapters folded in order", () => {
  test.for(recorded("composed"))("%s", async (name, context) => {
    if (name === absent) return context.skip("the references are not in this copy");
    const folder = join(area, "composed", name);
    const expected = readFixtureJson<Expected & { active: string[] }>(join(folder, "expected.json"));
    const adapters = await Promise.all(expected.active.map((each) => adapterOf(join(folder, each), context)));
    const base = await openBase(expected);
    const { checkpoint } = foldAdapters(base, adapters);
    await compare(name, checkpoint, base.tensors, folder, expected.changed ?? []);
  });
});

describe("files come back unchanged byte for byte when they are written", () => {
  test.for(recorded("cases"))("%s", async (name, context) => {
    if (name === absent) return context.skip("the references are not in this copy");
    const folder = join(area, "cases", name);
    const adapter = await adapterOf(folder, context);
    const { config, weights } = await writeAdapter(adapter);
    expect(config).toBe(readFileSync(join(folder, "adapter_config.json"), "utf8"));
    expect(Buffer.compare(weights, readFileSync(join(folder, "adapter_model.safetensors")))).toBe(0);
  });
});

test.skipIf(area === "")("every listed difference names a case and a tensor that are recorded", () => {
  const cases = fixtureCases("peft", { within: "cases" });
  for (const { case: name, tensor, reason } of differences) {
    if (isBundledSubset() && !cases.includes(name)) continue;
    expect(cases).toContain(name);
    expect(readFixtureTensors(join(area, "cases", name, "expected.safetensors")).has(`merged/${tensor}`)).toBe(true);
    expect(reason.length).toBeGreaterThan(20);
  }
});

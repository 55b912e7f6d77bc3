import { join } from "node:path";
import type { Checkpoint } from "@loomweight/checkpoint";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { compareFolded, foldAdapters, unfoldAdapters } from "../src/index.ts";
import { openAdapterFolder } from "../src/node/index.ts";
import type { Adapter } from "../src/peft/adapter.ts";
import { castAll, memoryCheckpoint, valuesOf } from "./memory.ts";

interface Expected {
  readonly base: string;
  readonly base_dtype?: "float32" | "bfloat16" | "float16";
  readonly merge?: string;
}

const area = fixtureArea("peft") ?? "";
const absent = "(no recorded cases here)";
const names = fixtureCases("peft", { within: "cases" });

/** Methods whose change of a weight cannot be undone without the base, whatever the file. */
const forgetful = /^(deft|dora|frod|glora|ln-tuning|osf|peanut|tlora|trainable-tokens)$/;

async function openCase(
  name: string,
): Promise<
  { adapter: Adapter; base: Checkpoint; config: Record<string, unknown>; tensors: Map<string, Tensor> } | undefined
> {
  const folder = join(area, "cases", name);
  const expected = readFixtureJson<Expected>(join(folder, "expected.json"));
  if (expected.merge?.startsWith("refused")) return undefined;
  const from = join(area, expected.base);
  const tensors = castAll(readFixtureTensors(join(from, "model.safetensors")), expected.base_dtype ?? "float32");
  const adapter = await openAdapterFolder(folder).catch((error: unknown) => {
    if (error instanceof LoomweightError && error.code === "UNSUPPORTED_ADAPTER") return undefined;
    throw error;
  });
  if (adapter === undefined) return undefined;
  return {
    adapter,
    tensors,
    base: await memoryCheckpoint(tensors, expected.base),
    config: readFixtureJson(join(from, "config.json")),
  };
}

/** The folded weights, written and opened again. */
async function written(folded: Checkpoint): Promise<Checkpoint> {
  const tensors = new Map<string, Tensor>();
  for (const name of folded.tensors.keys()) tensors.set(name, await folded.read(name));
  return memoryCheckpoint(tensors, "folded");
}

describe("every adapter that folds unfolds: by the base's bytes, and by arithmetic where its method remembers them", () => {
  test.for(names.length > 0 ? names : [absent])("%s", async (name, context) => {
    if (name === absent) return context.skip("the references are not in this copy");
    const opened = await openCase(name);
    if (opened === undefined) return context.skip("this adapter does not fold");
    const { adapter, base, config, tensors } = opened;
    const again = foldAdapters({ checkpoint: base, config }, [adapter]);
    const folded = await written(again.checkpoint);
    const compared = await compareFolded(folded, again.checkpoint);
    expect(compared.rounded).toEqual([]); // what `unfold --base` asks for before it gives the base back
    expect(compared.equal).toBe(folded.tensors.size);

    let unfolded: Checkpoint;
    try {
      unfolded = unfoldAdapters({ checkpoint: folded, config }, [adapter]).checkpoint;
      for (const tensor of unfolded.tensors.keys()) await unfolded.read(tensor);
    } catch (error) {
      expect(error).toMatchObject({ code: "UNSUPPORTED_ADAPTER", message: expect.stringContaining("Give the base") });
      const { message } = error as Error;
      const isKnown =
        forgetful.test(adapter.method.name) ||
        /replaced this tensor whole|starts from the base's weight/.test(message) ||
        /folded (weight|bias) does not determine/.test(message);
      expect(isKnown, message).toBe(true);
      return;
    }
    expect(forgetful.test(adapter.method.name)).toBe(false);
    for (const { name: key, operations } of again.plan.tensors.values()) {
      if (operations.length === 0) continue; // copied byte for byte
      const tensor = tensors.get(key) as Tensor;
      const [before, after] = [valuesOf(tensor), valuesOf(await unfolded.read(key))];
      const changed = valuesOf(await folded.read(key));
      const unit = { float32: 2 ** -23, bfloat16: 2 ** -7, float16: 2 ** -10 }[tensor.dtype as "float32"];
      // Two roundings; where the method divides by what it multiplied with, the first is divided too.
      const slack = adapter.method.additive === true ? 1 : 200;
      const typical = Math.sqrt(before.reduce((sum, value) => sum + value * value, 0) / before.length);
      let worst = 0;
      before.forEach((value, i) => {
        const size = Math.max(Math.abs(value), Math.abs(changed[i]), slack === 1 ? 0 : typical);
        if (after[i] !== value) worst = Math.max(worst, Math.abs(after[i] - value) / (unit * size));
      });
      expect(worst, key).toBeLessThanOrEqual(slack);
    }
  });
});

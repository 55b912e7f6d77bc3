import { join } from "node:path";
import { foldAdapters } from "@loomweight/adapters";
import { attach } from "@loomweight/adapters/attach";
import { openAdapterFolder } from "@loomweight/adapters/node";
import type { ModelFolder } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { type ImportedModel, type Instance, importOnnx, instantiate, type OnnxModel } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { cast, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { otherInputs } from "../src/index.ts";

// What PEFT's models gave with each recorded adapter at work (on the graph here) and merged (folded here).

const area = fixtureArea("peft") ?? "";
const absent = "(no recorded cases here)";
const names = fixtureCases("peft", { within: "cases" });
/** Of the folder's README: absolute, float32. */
const tolerance = 5e-5;

interface Expected {
  readonly base: string;
  readonly base_dtype?: string;
  readonly merge?: string;
}

let runtime: Awaited<ReturnType<typeof createRuntime>>;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

async function logitsOf(model: ImportedModel, made: (inputs: Instance["inputs"]) => Instance, ids: Tensor) {
  const [rows, columns] = ids.shape;
  const { logits } = made({ input_ids: ids, ...otherInputs(model, { input_ids: ids }, [rows, columns]) }).outputs;
  return toFloat64((await runtime.evaluate({ logits }, {})).logits);
}

const largest = (a: Float64Array, b: Float64Array) => {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
};

describe("outputs of recorded adapters", () => {
  test.for(names.length > 0 ? names : [absent])("%s", async (name, context) => {
    if (name === absent) return context.skip("the references are not in this copy");
    const folder = join(area, "cases", name);
    const expected = readFixtureJson<Expected>(join(folder, "expected.json"));
    if (expected.base.endsWith("/conv")) return context.skip("its base is no model that is built: folding is replayed");
    if (expected.base.endsWith("/moe")) return context.skip("qwen3_moe is not built: folding is replayed");
    if ((expected.base_dtype ?? "float32") !== "float32") {
      return context.skip("outputs in half precision depend on the order of additions: folding is replayed");
    }
    const adapter = await openOrSkip(folder, context);
    const base = await openModel(join(area, expected.base));
    const recorded = readFixtureTensors(join(folder, "expected.safetensors"));
    const ids = cast(
      readFixtureTensors(join(area, expected.base, "inputs.safetensors")).get("input_ids") as Tensor,
      "int64",
    );
    const { model } = await buildModel(base, "text-generation", { fuse: "none" });
    const worst = await attachedDistance(model);
    const merged = recorded.get("logits_merged");
    const folded = merged === undefined ? 0 : largest(await foldedLogits(base, adapter, ids), toFloat64(merged));
    context.annotate(`attached ${worst?.toExponential(1) ?? "refused"}, folded ${folded.toExponential(1)}`);
    if (worst !== undefined) expect(worst, "attached").toBeLessThanOrEqual(tolerance);
    expect(folded, "folded").toBeLessThanOrEqual(tolerance);
    await adapter.checkpoint.close();
    await base.close();

    /** Undefined where a part of the adapter is only folded, and attaching says so. */
    async function attachedDistance(model: OnnxModel): Promise<number | undefined> {
      const foldedOnly = [...adapter.modules.values()].some(({ method }) => method !== adapter.method);
      if (foldedOnly) {
        await expect(attach(model, base.checkpoint, adapter)).rejects.toThrow(/not put on graphs/);
        return undefined;
      }
      const attachment = await attach(model, base.checkpoint, adapter);
      const logits = await logitsOf(attachment.model, (inputs) => attachment.instantiate({ inputs }), ids);
      return largest(logits, toFloat64(recorded.get("logits") as Tensor));
    }
  });
});

async function foldedLogits(base: ModelFolder, adapter: Awaited<ReturnType<typeof openAdapterFolder>>, ids: Tensor) {
  const { checkpoint } = foldAdapters({ checkpoint: base.checkpoint, config: base.config ?? {} }, [adapter]);
  const { model } = await buildModel({ ...base, checkpoint }, "text-generation", { fuse: "none" });
  const imported = await importOnnx(model);
  return logitsOf(imported, (inputs) => instantiate(imported, { inputs }), ids);
}

async function openOrSkip(folder: string, context: TestContext) {
  try {
    return await openAdapterFolder(folder);
  } catch (error) {
    if (!(error instanceof LoomweightError) || error.code !== "UNSUPPORTED_ADAPTER") throw error;
    return context.skip(error.details.problem);
  }
}

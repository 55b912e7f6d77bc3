import type { Runtime } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  adapt,
  bnAdapt,
  type GraphClassifier,
  mutualInformation,
  openGraphClassifier,
  streamBatches,
  tent,
} from "../src/index.ts";
import { driftingClasses, errorOf } from "./drifting-classes.ts";

// Three ways in which test-time adaptation disappoints in the field (Zhao et al. 2023, arXiv:2306.03536): it depends on
// how the stream is cut into batches, its options are chosen with labels nobody has, and its base model may be bad.

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

const world = driftingClasses(1, 960);

/** Rows of the stream in its order, and their labels. */
function streamOf(batchSize: number, setting: "continual" | "correlated" = "continual") {
  const batches = [...streamBatches(setting, [{ name: "target", labels: world.labels }], { batchSize, seed: 2 })];
  const rows = batches.map(({ samples }) => samples.map(({ sample }) => sample));
  return { rows, labels: rows.flat().map((row) => world.labels[row]) };
}

interface Stepping {
  step(x: Tensor): Promise<{ readonly probabilities: Tensor }>;
}

async function errorOn(adapter: Stepping, { rows, labels }: ReturnType<typeof streamOf>) {
  const found: Tensor[] = [];
  for (const each of rows) found.push((await adapter.step(world.batch(each))).probabilities);
  return { error: errorOf(found, labels), found };
}

async function sourceError(model: GraphClassifier, stream: ReturnType<typeof streamOf>): Promise<number> {
  const step = async (x: Tensor) => ({ probabilities: (await model.classify(x)).logits });
  return (await errorOn({ step }, stream)).error;
}

/** All rows of some predictions as one tensor. */
function joined(parts: readonly Tensor[]): Tensor {
  const rows = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  return fromFloat64(Float64Array.from(parts.flatMap((each) => [...toFloat64(each)])), [rows, parts[0].shape[1]]);
}

describe("the stream cut into batches of 1, 8 and 64", () => {
  test("blended statistics help at every size; those of the batch alone refuse a single sample", async () => {
    const model = await openGraphClassifier(world.model("batch"), { runtime });
    const source = await sourceError(model, streamOf(64));
    for (const batchSize of [1, 8, 64]) {
      for (const method of ["bn-adapt", "tent"]) {
        const adapter =
          method === "tent"
            ? await adapt(tent, model, { statistics: "prior", learningRate: 1e-4 })
            : await adapt(bnAdapt, model, { mode: "prior" });
        const { error } = await errorOn(adapter, streamOf(batchSize));
        expect(error, `${method}, batches of ${batchSize}`).toBeLessThan(source + 1);
        if (batchSize === 64) expect(error, method).toBeLessThan(source - 10);
      }
    }
    const running = await adapt(bnAdapt, model, { mode: "batch" });
    await expect(running.step(world.batch([0]))).rejects.toMatchObject({ code: "INVALID_BATCH" });
    await model.close();
  }, 60_000);

  test("a model with layer normalization does not collapse on single samples", async () => {
    const model = await openGraphClassifier(world.model("layer"), { runtime });
    const source = await sourceError(model, streamOf(64));
    for (const batchSize of [1, 8, 64]) {
      const { error, found } = await errorOn(await adapt(tent, model, { learningRate: 1e-4 }), streamOf(batchSize));
      expect(error, `batches of ${batchSize}`).toBeLessThan(source + 3);
      expect(mutualInformation(joined(found))).toBeGreaterThan(0.5);
    }
    await model.close();
  }, 60_000);

  test("batches of few classes break batch statistics; the blend keeps most of what the source knows", async () => {
    const model = await openGraphClassifier(world.model("batch"), { runtime });
    const stream = streamOf(16, "correlated");
    const source = await sourceError(model, stream);
    const batch = (await errorOn(await adapt(bnAdapt, model, {}), stream)).error;
    const prior = (await errorOn(await adapt(bnAdapt, model, { mode: "prior", priorCount: 64 }), stream)).error;
    expect(batch).toBeGreaterThan(source + 30);
    expect(prior).toBeLessThan(source + 10);
    await model.close();
  }, 60_000);
});

test("options chosen without labels: mutual information finds a good rate, mean entropy the collapsed one", async () => {
  const model = await openGraphClassifier(world.model("batch"), { runtime });
  const stream = streamOf(64);
  const tried = [];
  for (const learningRate of [1e-4, 1e-3, 1e-2, 0.3, 3]) {
    const { error, found } = await errorOn(await adapt(tent, model, { learningRate }), stream);
    const all = joined(found);
    const values = toFloat64(all);
    const entropy = values.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0) / all.shape[0];
    tried.push({ learningRate, error, information: mutualInformation(all), entropy });
  }
  const best = Math.min(...tried.map(({ error }) => error));
  const chosen = tried.reduce((a, b) => (b.information > a.information ? b : a));
  const surest = tried.reduce((a, b) => (b.entropy < a.entropy ? b : a));
  expect(chosen.error).toBeLessThan(best + 3);
  expect(surest.error).toBeGreaterThan(best + 20);
  await model.close();
}, 60_000);

test("a bad base model: the guards against collapse start over and lose less", async () => {
  const model = await openGraphClassifier(world.model("batch", 2), { runtime });
  const stream = streamOf(16);
  const options = { learningRate: 0.3 };
  const [bare, guarded, bounded] = [
    await adapt(tent, model, options),
    await adapt(tent, model, { ...options, resetAtShare: 0.5 }),
    await adapt(tent, model, { ...options, resetEvery: 5 }),
  ];
  const errors = [];
  for (const adapter of [bare, guarded, bounded]) errors.push((await errorOn(adapter, stream)).error);
  expect(bare.resets).toBe(0);
  expect(guarded.resets).toBeGreaterThan(0);
  expect(bounded.resets).toBe(Math.ceil(960 / 16 / 5) - 1);
  expect(errors[1]).toBeLessThan(errors[0] - 5);
  expect(errors[2]).toBeLessThan(errors[0] - 5);
  // At a modest rate no guard is called, and the bad model is not made worse.
  const modest = await adapt(tent, model, { learningRate: 1e-4, resetAtShare: 0.5 });
  const plain = (await errorOn(await adapt(bnAdapt, model, {}), stream)).error;
  expect((await errorOn(modest, stream)).error).toBeLessThan(plain + 2);
  expect(modest.resets).toBe(0);
  await model.close();
}, 60_000);

test("guards with bad values are refused", async () => {
  const model = await openGraphClassifier(world.model("batch"), { runtime });
  for (const guard of [{ resetEvery: 0 }, { resetEvery: 1.5 }, { resetAtShare: 0 }, { resetAtShare: 2 }]) {
    await expect(adapt(tent, model, guard)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  }
  await model.close();
});

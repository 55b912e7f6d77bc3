import { existsSync } from "node:fs";
import { join } from "node:path";
import { type AdapterFiles, dora, lora, miss, openAdapter } from "@loomweight/adapters";
import { type AdapterSpec, attach } from "@loomweight/adapters/attach";
import { type Checkpoint, fileSetFromMap } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { batches } from "@loomweight/data";
import { fixtureArea } from "@loomweight/fixtures";
import { input, type OnnxModel, type Runtime } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { fromData, type Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  cordaStart,
  type DataStart,
  type DataStartOptions,
  evaStart,
  loraGaStart,
  otherInputs,
  trainAdapter,
} from "../src/index.ts";

// Adapters that start from data, trained and written: the first output is the base's, the files are those of the training.

const peft = fixtureArea("peft");
let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

const rows = 16;
const length = 10;
const ids = BigInt64Array.from({ length: rows * length }, (_, i) =>
  BigInt((Math.floor(i / length) * 7 + (i % length) * 3) % 64),
);
const data = { input_ids: fromData("int64", ids, [rows, length]), labels: fromData("int64", ids, [rows, length]) };
const once = () => batches(data, { batchSize: 4 });
const starts: Readonly<Record<string, (options: DataStartOptions) => Promise<DataStart>>> = {
  eva: (options) => evaStart({ ...options, rho: 2 }),
  "eva on dora": (options) => evaStart({ ...options, adapter: { ...options.adapter, method: dora }, rho: 1 }),
  "corda, ipm": (options) => cordaStart(options),
  "corda, kpm": (options) => cordaStart({ ...options, mode: "kpm" }),
  "lora-ga": (options) => loraGaStart(options),
};

const bases = ["llama", "gpt2"].filter((name) => peft !== undefined && existsSync(join(peft, "base", name)));
describe.each(bases)("on a small %s", (name) => {
  let model: OnnxModel;
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    const base = await openModel(join(peft ?? "", "base", name));
    checkpoint = base.checkpoint;
    ({ model } = await buildModel(base, "text-generation", { fuse: "none" }));
  });
  afterAll(() => checkpoint.close());

  const targets = name === "gpt2" ? ["c_attn", "c_fc"] : ["q_proj", "k_proj", "down_proj"];
  const spec: AdapterSpec = { method: lora, options: { rank: 4, alpha: 8, rankStabilized: true }, targets };
  const logits = async (files: AdapterFiles | undefined): Promise<Float32Array> => {
    const adapter = files === undefined ? [] : await reopened(files);
    const attachment = await attach(model, checkpoint, adapter);
    const x = input("input_ids", "int64", [rows, length]);
    const given = { input_ids: x };
    const { outputs } = attachment.instantiate({
      inputs: { ...given, ...otherInputs(attachment.model, given, [rows, length]) },
    });
    const found = await runtime.evaluate({ logits: outputs.logits }, { input_ids: data.input_ids });
    return found.logits.data as Float32Array;
  };

  test.each(Object.keys(starts))("%s: starts at the base's loss, learns, and its files say the same", async (start) => {
    const begun = await starts[start]({ runtime, model, checkpoint, adapter: spec, batches: once });
    const options = {
      runtime,
      model,
      checkpoint,
      learningRate: 1e-2,
      batches: (skip: number) => batches(data, { batchSize: 8, epochs: 8, skip }),
    };
    const plain = await trainAdapter({ ...options, adapter: spec, steps: 1 });
    const training = await trainAdapter({ ...options, adapter: begun.adapter, statistics: begun.statistics });
    const losses: number[] = [];
    for await (const { loss } of training) losses.push(loss);
    expect(losses[0]).toBeCloseTo((await plain.finish())?.loss ?? 0, 4);
    expect(losses.at(-1)).toBeLessThan(losses[0] - 0.5);
    const files = await training.files();
    const parameters = await training.parameters();
    const trained = await attachedLogits(training.attachment, parameters);
    const again = await logits(files);
    expect(furthest(again, trained)).toBeLessThan(2e-4);
    expect(furthest(again, await logits(undefined))).toBeGreaterThan(0.1);
    const config = JSON.parse(files.config);
    if (start.startsWith("eva")) {
      expect(config).toMatchObject({ init_lora_weights: "eva", r: 4, eva_config: { tau: 0.99 } });
    } else {
      // The base was changed by data: the files hold what PEFT's conversion gives, of twice the rank.
      expect(config).toMatchObject({ init_lora_weights: true, r: 8 });
      expect(config.lora_alpha).toBeCloseTo(8 * Math.SQRT2, 12);
    }
    for (const each of [plain, training]) await each.close();
  });

  async function attachedLogits(
    attachment: Awaited<ReturnType<typeof attach>>,
    values: Readonly<Record<string, Tensor>>,
  ): Promise<Float32Array> {
    const x = input("input_ids", "int64", [rows, length]);
    const state = await runtime.state(values);
    const parameters = Object.fromEntries(
      Object.entries(values).map(([key, { dtype, shape }]) => [key, input(key, dtype, shape)]),
    );
    const given = { input_ids: x };
    const { outputs } = attachment.instantiate({
      parameters,
      inputs: { ...given, ...otherInputs(attachment.model, given, [rows, length]) },
    });
    const found = await runtime.evaluate({ logits: outputs.logits }, { input_ids: data.input_ids, ...values });
    await state.close();
    return found.logits.data as Float32Array;
  }

  test("eva deals ranks out over the layers, and the file's patterns and targets say which", async () => {
    const found = await evaStart({ runtime, model, checkpoint, adapter: spec, batches: once, rho: 2, maxBatches: 50 });
    const ranks = [...found.start.layers].map(([, { rank }]) => rank);
    const count = ranks.length + found.start.removed.length;
    expect(ranks.reduce((sum, rank) => sum + rank, 0)).toBe(4 * count);
    expect(Math.max(...ranks)).toBeGreaterThan(4);
    for (const { rank, alpha } of found.start.layers.values()) expect(alpha / rank).toBe(2);
    expect(found.adapter.targets).toEqual([...found.start.layers.keys()]);
    const training = await trainAdapter({
      runtime,
      model,
      checkpoint,
      batches: (skip) => batches(data, { batchSize: 4, skip }),
      steps: 1,
      adapter: found.adapter,
      statistics: found.statistics,
    });
    const { config } = await training.files();
    expect(JSON.parse(config).rank_pattern).toEqual(found.start.rankPattern);
    expect(JSON.parse(config).alpha_pattern).toEqual(found.start.alphaPattern);
    await training.close();
  });

  test("what cannot start from data says so", async () => {
    const options = { runtime, model, checkpoint, batches: once };
    await expect(evaStart({ ...options, adapter: { method: miss } })).rejects.toThrow(/does not start from factors/);
    await expect(evaStart({ ...options, adapter: spec, batches: () => [] })).rejects.toThrow(/no batch/);
    await expect(cordaStart({ ...options, adapter: spec, batches: () => [] })).rejects.toThrow(/no batch/);
    await expect(loraGaStart({ ...options, adapter: spec, batches: () => [] })).rejects.toThrow(/no batch/);
    await expect(attach(model, checkpoint, { ...spec, options: { rank: 4, init: "given" } })).rejects.toThrow(
      /statistics, which were not given/,
    );
  });
});

async function reopened(files: AdapterFiles) {
  const all = new Map([
    ["adapter_config.json", new TextEncoder().encode(files.config)],
    ["adapter_model.safetensors", files.weights],
  ]);
  return openAdapter(fileSetFromMap(all, "trained"));
}

function furthest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blockMethods, hyperformer } from "@loomweight/adapters";
import { attach, attachedModel, openBlockAdapter } from "@loomweight/adapters/attach";
import { folderFileSet, openModel } from "@loomweight/checkpoint/node";
import { fixtureArea } from "@loomweight/fixtures";
import { type Instance, importOnnx, instantiate } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { fromData, toFloat64 } from "@loomweight/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { otherInputs, trainAdapter } from "../src/index.ts";
import { readTrainConfig, trainAdapterFolder } from "../src/node/index.ts";

const area = fixtureArea("models");
const root = mkdtempSync(join(tmpdir(), "loomweight-blocks-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const ids = fromData(
  "int64",
  BigInt64Array.from({ length: 20 }, (_, i) => BigInt((i * 3) % 50)),
  [2, 10],
);

/** What a configuration says for each method of block scope; the values are small, as the model is. */
const configs: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  adaptertune: { targets: "model\\.layers\\.\\d+", rank: 4 },
  adaptformer: { targets: ["mlp"], bottleneck: 4, dropout: 0 },
  "vl-adapter": { targets: ["self_attn", "mlp"], reductionFactor: 4 },
  compacter: { targets: ["self_attn", "mlp"], reductionFactor: 4 },
  // The activation is no module of its own here, so its values are named.
  taugate: {
    sites: [0, 1].map((layer) => ({
      path: `model.layers.${layer}.mlp.act`,
      input: `/model/layers/${layer}/mlp/gate_proj/MatMul/output_0`,
      output: `/model/layers/${layer}/mlp/Mul/output_0`,
    })),
  },
};

describe.skipIf(area === undefined)("methods that change what modules compute, from a configuration", () => {
  if (area !== undefined) cpSync(join(area, "scribe", "scribe-base"), join(root, "base"), { recursive: true });
  writeFileSync(join(root, "train.txt"), "All: Speak, speak.\nFirst Citizen: Resolved.\n".repeat(4));

  test("every method has a configuration here, or is told its task", () => {
    const told = blockMethods.filter(({ name }) => configs[name] === undefined).map(({ name }) => name);
    expect(told).toEqual(["hyperformer"]);
  });

  test.for(Object.entries(configs))("%s: trains, its folder opens, goes on and exports", async ([method, adapter]) => {
    const config = (more: object) =>
      readTrainConfig({
        model: "base",
        out: method,
        adapter: { method, ...adapter },
        data: { train: "train.txt", length: 16 },
        training: { steps: 3, batchSize: 4, learningRate: 2e-2, schedule: "constant", ...more },
      });
    const losses: number[] = [];
    const result = await trainAdapterFolder(config({}), { root, threads: 1, onStep: ({ loss }) => losses.push(loss) });
    expect(losses[2]).toBeLessThan(losses[0]);
    expect(result.modules).toBeGreaterThan(1);
    expect(JSON.parse(readFileSync(join(root, method, "adapter_config.json"), "utf8"))).toMatchObject({
      adapter_type: method,
      base_model_name_or_path: "base",
    });
    // Going on from the folder starts where the training ended.
    const on = readTrainConfig({
      model: "base",
      out: `${method}-on`,
      adapter: { from: method },
      data: { train: "train.txt", length: 16 },
      training: { steps: 1, batchSize: 4, learningRate: 2e-2 },
    });
    const again = await trainAdapterFolder(on, { root, threads: 1 });
    expect(again.loss).toBeLessThan(losses[0]);
    // On the graph and exported: one answer, and not that of the base.
    const base = await openModel(join(root, "base"));
    const { model } = await buildModel(base, "text-generation", { fuse: "none" });
    const spec = await openBlockAdapter(await folderFileSet(join(root, method)));
    const attachment = await attach(model, base.checkpoint, spec);
    const runtime = await createRuntime({ threads: 1 });
    const exported = await importOnnx(attachedModel(attachment));
    const inputs = { input_ids: ids, ...otherInputs(attachment.model, { input_ids: ids }, [2, 10]) };
    const logits = async ({ outputs }: Instance) =>
      toFloat64((await runtime.evaluate({ logits: outputs.logits }, {})).logits);
    const attached = await logits(attachment.instantiate({ inputs }));
    const alone = await logits(attachment.instantiate({ inputs, active: [] }));
    const file = await logits(instantiate(exported, { inputs }));
    expect(Math.max(...attached.map((value, i) => Math.abs(value - alone[i])))).toBeGreaterThan(1e-3);
    expect(Math.max(...attached.map((value, i) => Math.abs(value - file[i])))).toBeLessThan(1e-5);
    await runtime.close();
    await base.close();
  });

  test("a task's number is told in every batch: each task learns its own answer", async () => {
    const options = { reductionFactor: 4, tasks: 2, layers: 4, embedding: 4, hidden: 8, projected: 4 };
    const adapter = { method: "hyperformer", targets: ["mlp"], ...options };
    expect(() => readTrainConfig({ model: "base", out: "out", adapter, data: { train: "train.txt" } })).toThrow(
      /told its task in every batch/,
    );
    const base = await openModel(join(root, "base"));
    const { model } = await buildModel(base, "text-generation", { fuse: "none" });
    const runtime = await createRuntime({ threads: 1 });
    const answers = [1n, 2n].map((token) => fromData("int64", new BigInt64Array(20).fill(token), [2, 10]));
    const batch = (task: number) => ({
      input_ids: ids,
      labels: answers[task],
      task: fromData("int64", BigInt64Array.of(BigInt(task)), []),
    });
    const training = await trainAdapter({
      runtime,
      model,
      checkpoint: base.checkpoint,
      adapter: { method: hyperformer, options, targets: ["mlp"] },
      batches: () => Array.from({ length: 40 }, (_, i) => batch(i % 2)),
      learningRate: 1e-2,
    });
    const losses: number[] = [];
    for await (const { loss } of training) losses.push(loss);
    for (const task of [0, 1]) expect(losses[38 + task]).toBeLessThan(losses[task] - 1);
    await training.close();
    const { task: _, ...untold } = batch(0);
    const missing = trainAdapter({
      runtime,
      model,
      checkpoint: base.checkpoint,
      adapter: { method: hyperformer, options, targets: ["mlp"] },
      batches: () => [untold],
    });
    await expect(missing.then((each) => each.finish())).rejects.toThrow(
      /does not have what hyperformer is told.*"task"/,
    );
    await runtime.close();
    await base.close();
  });
});

import { join } from "node:path";
import { dora, lora, miss, openAdapter } from "@loomweight/adapters";
import { attach } from "@loomweight/adapters/attach";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { fileSetFromMap } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { batches, packTokens, padTokens } from "@loomweight/data";
import { fixtureArea, readFixtureTensors } from "@loomweight/fixtures";
import { importOnnx, type OnnxModel } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { sgd } from "@loomweight/optim";
import { cast, fromData, type Tensor, toFloat64 as valuesOf } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blockCheckpoints, type TrainAdapterOptions, trainAdapter } from "../src/index.ts";

const peft = fixtureArea("peft");
const models = fixtureArea("models");
let runtime: Awaited<ReturnType<typeof createRuntime>>;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

async function llama() {
  const base = await openModel(join(peft ?? "", "base", "llama"));
  const { model } = await buildModel(base, "text-generation", { fuse: "none" });
  return { model, checkpoint: base.checkpoint };
}

/** Rows of tokens that follow a rule: each is the one before plus 3. */
function counting(rows: number, length: number): { input_ids: Tensor; labels: Tensor } {
  const ids = BigInt64Array.from({ length: rows * length }, (_, i) =>
    BigInt((Math.floor(i / length) * 7 + (i % length) * 3) % 64),
  );
  const input_ids = fromData("int64", ids, [rows, length]);
  return { input_ids, labels: input_ids };
}

const few: Pick<TrainAdapterOptions, "batches"> = {
  batches: (position) => batches(counting(16, 10), { batchSize: 4, epochs: 50, shuffle: 3, skip: position }),
};

describe.skipIf(peft === undefined)("training on a small llama", () => {
  test("the loss falls, the base stays, and the files are read again with the same logits", async () => {
    const { model, checkpoint } = await llama();
    const training = await trainAdapter({
      runtime,
      model,
      checkpoint,
      adapter: { method: lora, options: { rank: 4, alpha: 8 }, taskType: "CAUSAL_LM" },
      ...few,
      steps: 60,
      learningRate: 2e-2,
    });
    expect([...(training.attachment.adapters[0].modules.keys() ?? [])]).toHaveLength(14);
    const losses: number[] = [];
    for await (const { loss } of training) losses.push(loss);
    expect(losses[0]).toBeGreaterThan(4);
    expect(losses[59]).toBeLessThan(1);
    const { config, weights } = await training.files();
    const adapter = await openAdapter(
      fileSetFromMap(
        new Map([
          ["adapter_config.json", new TextEncoder().encode(config)],
          ["adapter_model.safetensors", weights],
        ]),
        "trained",
      ),
    );
    expect(JSON.parse(config)).toMatchObject({ peft_type: "LORA", r: 4, lora_alpha: 8, task_type: "CAUSAL_LM" });
    const again = await trainAdapter({ runtime, model, checkpoint, adapter, ...few, steps: 1, learningRate: 0 });
    const metrics = await again.finish();
    expect(metrics?.loss).toBeCloseTo((await lossNow(training)) ?? 0, 5);
    await again.close();
    await training.close();

    async function lossNow(of: typeof training): Promise<number | undefined> {
      const parameters = await of.parameters();
      const values = Object.entries(parameters).map(([name, tensor]) => [name, valuesOf(tensor)] as const);
      expect(values.every(([, numbers]) => numbers.every(Number.isFinite))).toBe(true);
      const own = await trainAdapter({
        runtime,
        model,
        checkpoint,
        adapter: { method: lora, options: { rank: 4, alpha: 8 } },
        ...few,
        evaluation: { batches: () => batches(counting(16, 10), { batchSize: 4, shuffle: 3 }) },
      });
      await own.training.state.write(parameters);
      const first = (await own.training[Symbol.asyncIterator]().next()).value;
      await own.close();
      return first?.loss;
    }
  });

  test("a resumed training goes on bit for bit, with dropout, accumulation and LoRA+", async () => {
    const { model, checkpoint } = await llama();
    const options: TrainAdapterOptions = {
      runtime,
      model,
      checkpoint,
      adapter: { method: lora, options: { rank: 2 }, targets: ["q_proj", "down_proj"], dropout: 0.2 },
      ...few,
      accumulate: 2,
      loraPlusRatio: 8,
      learningRate: (step) => 1e-3 / (1 + step),
      clip: { norm: 1 },
      seed: 5,
    };
    const whole = await trainAdapter({ ...options, steps: 6 });
    await whole.finish();
    const half = await trainAdapter({ ...options, steps: 3 });
    await half.finish();
    const saved = await half.training.save();
    const rest = await trainAdapter({ ...options, steps: 6, resume: saved });
    await rest.finish();
    const [a, b] = [await whole.parameters(), await rest.parameters()];
    expect(Object.keys(b)).toEqual(Object.keys(a));
    for (const name of Object.keys(a)) expect(b[name].data, name).toEqual(a[name].data);
    const plain = await trainAdapter({ ...options, loraPlusRatio: 1, steps: 6 });
    await plain.finish();
    const other = await plain.parameters();
    const moved = (values: Readonly<Record<string, Tensor>>) =>
      valuesOf(values["model.layers.0.self_attn.q_proj.B"]).reduce((sum, each) => sum + Math.abs(each), 0);
    expect(moved(a) / moved(other)).toBeGreaterThan(4);
    for (const each of [whole, half, rest, plain]) await each.close();
  });

  test("recomputing blocks changes no number", async () => {
    const { model, checkpoint } = await llama();
    const options: TrainAdapterOptions = {
      runtime,
      model,
      checkpoint,
      adapter: { method: dora, options: { rank: 2 }, dropout: 0.1 },
      ...few,
      optimizer: sgd(),
      learningRate: 0.1,
      steps: 3,
    };
    const run = async (gradientCheckpointing: boolean) => {
      const training = await trainAdapter({ ...options, gradientCheckpointing });
      const losses: number[] = [];
      for await (const { loss } of training) losses.push(loss);
      await training.close();
      return losses;
    };
    expect(blockCheckpoints(await importOnnx(model)).blocks).toBe(2);
    const [kept, again] = [await run(false), await run(true)];
    again.forEach((loss, i) => {
      expect(Math.abs(loss - kept[i])).toBeLessThan(2e-6);
    });
  });

  test("weights held once and copied into each program give the same numbers", async () => {
    const { model, checkpoint } = await llama();
    const run = async (baseWeights: "shared" | "copied") => {
      const training = await trainAdapter({
        runtime,
        model,
        checkpoint,
        adapter: { method: dora, options: { rank: 2 }, bias: "none", modulesToSave: ["lm_head"] },
        ...few,
        steps: 3,
        learningRate: 1e-2,
        baseWeights,
        evaluation: { batches: () => batches(counting(6, 10), { batchSize: 4 }) },
      });
      const held = [...training.training.state.tensors.keys()].filter((name) => name.startsWith("base/"));
      const losses: number[] = [];
      for await (const { loss } of training) losses.push(loss);
      losses.push((await training.evaluate()).loss);
      const saved = await training.training.snapshot();
      await training.close();
      return { held, losses, saved: [...saved.tensors.keys()] };
    };
    const [shared, copied] = [await run("shared"), await run("copied")];
    expect(copied.held).toEqual([]);
    expect(shared.held).toContain("base/model.layers.1.mlp.down_proj.weight");
    expect(shared.held).not.toContain("base/lm_head.weight");
    expect(shared.saved).toEqual(copied.saved);
    shared.losses.forEach((loss, i) => {
      expect(Math.abs(loss - copied.losses[i])).toBeLessThan(1e-5);
    });
  });

  test("packed texts have the loss of padded ones, whatever stands beside them", async () => {
    const { model, checkpoint } = await llama();
    const texts = [7, 4, 9, 5, 3].map((length, text) => Array.from({ length }, (_, i) => (text * 11 + i * 3 + 1) % 64));
    const { labels, ...padded } = padTokens(texts, { padId: 0 });
    const packed = packTokens(texts, { padId: 0, length: 16 });
    expect(packed.input_ids.shape).toEqual([2, 16]);
    const lossOf = async (
      batch: Readonly<Record<string, Tensor>>,
      more: Pick<TrainAdapterOptions, "gradientCheckpointing"> = {},
    ) => {
      const training = await trainAdapter({
        runtime,
        model,
        checkpoint,
        adapter: { method: lora, options: { rank: 2 } },
        batches: [batch, batch, batch],
        learningRate: 1e-2,
        ...more,
      });
      const losses: number[] = [];
      for await (const { loss } of training) losses.push(loss);
      await training.close();
      return losses;
    };
    const expected = await lossOf({ ...padded, labels });
    for (const gradientCheckpointing of [false, true]) {
      const together = await lossOf({ ...packed }, { gradientCheckpointing });
      together.forEach((loss, i) => {
        expect(Math.abs(loss - expected[i])).toBeLessThan(1e-5);
      });
    }
    const { segment_ids: _, ...unseparated } = packed;
    expect(Math.abs((await lossOf(unseparated))[0] - expected[0])).toBeGreaterThan(1e-3);
  });

  test("stops when evaluations no longer improve, and keeps the best values", async () => {
    const { model, checkpoint } = await llama();
    const training = await trainAdapter({
      runtime,
      model,
      checkpoint,
      adapter: { method: miss, options: { rank: 8 } },
      ...few,
      learningRate: (step) => (step < 10 ? 1e-2 : 0.5),
      evaluation: { batches: () => batches(counting(8, 10), { batchSize: 4 }), every: 5, patience: 2 },
    });
    await training.finish();
    expect(training.ended).toBe("patience");
    expect(training.best?.step).toBeLessThanOrEqual(15);
    expect(training.training.step).toBe((training.best?.step ?? 0) + 10);
    const [best, last] = [await training.parameters({ best: true }), await training.parameters()];
    const name = "model.layers.0.self_attn.q_proj.block";
    expect(valuesOf(best[name])).not.toEqual(valuesOf(last[name]));
    await training.close();
  });

  test("a resumed training remembers its best values and how long it waited", async () => {
    const { model, checkpoint } = await llama();
    const options = {
      runtime,
      model,
      checkpoint,
      adapter: { method: miss, options: { rank: 8 } },
      ...few,
      learningRate: (step: number) => (step < 10 ? 1e-2 : 0.5),
      evaluation: { batches: () => batches(counting(8, 10), { batchSize: 4 }), every: 5, patience: 2 },
    };
    const whole = await trainAdapter(options);
    await whole.finish();
    const stopped = await trainAdapter({ ...options, steps: (whole.best?.step ?? 0) + 5 });
    await stopped.finish();
    expect(stopped.best).toEqual(whole.best);
    const rest = await trainAdapter({ ...options, resume: await stopped.training.save() });
    await stopped.close();
    await rest.finish();
    expect([rest.ended, rest.training.step, rest.best]).toEqual(["patience", whole.training.step, whole.best]);
    const [ours, theirs] = [await rest.parameters({ best: true }), await whole.parameters({ best: true })];
    expect(Object.keys(ours).sort()).toEqual(Object.keys(theirs).sort());
    for (const [name, tensor] of Object.entries(theirs)) expect(valuesOf(ours[name])).toEqual(valuesOf(tensor));
    await whole.close();
    await rest.close();
  });

  test("an imported file without names for its weights trains alike", async () => {
    const { model, checkpoint } = await llama();
    const anonymous = await withoutNames(model);
    const losses = async (from: OnnxModel, base: typeof checkpoint | undefined) => {
      const training = await trainAdapter({
        runtime,
        model: from,
        checkpoint: base,
        adapter: { method: lora, options: { rank: 2 }, targets: ["v_proj", "gate_proj"] },
        ...few,
        steps: 4,
        learningRate: 1e-2,
      });
      const seen: number[] = [];
      for await (const { loss } of training) seen.push(loss);
      const paths = [...training.attachment.adapters[0].modules.keys()];
      await training.close();
      return { seen, paths };
    };
    const [named, unnamed] = [await losses(model, checkpoint), await losses(anonymous, undefined)];
    expect(unnamed.paths).toEqual(named.paths);
    unnamed.seen.forEach((loss, i) => {
      expect(Math.abs(loss - named.seen[i])).toBeLessThan(1e-6);
    });
  });

  test("bad input is named with the closest valid choice", async () => {
    const { model, checkpoint } = await llama();
    const attached = (adapter: Parameters<typeof attach>[2]) => attach(model, checkpoint, adapter);
    await expect(attached({ method: lora, targets: ["q_prj"] })).rejects.toThrow(/match no layer.*q_proj/s);
    await expect(attached({ method: lora, options: { rank: 0 } })).rejects.toThrow(/lora\.rank/);
    await expect(attached({ method: lora, options: { rnk: 2 } })).rejects.toThrow(/rank/);
    await expect(attached({ method: lora, dropout: 1 })).rejects.toThrow(/dropout/);
    await expect(attached({ method: lora, targets: "(a+)+$" })).rejects.toThrow();
    await expect(attached({ method: miss, options: { rank: 7, mode: "bat" } })).rejects.toThrow(/divisor/);
    await expect(attached({ method: miss, targets: ["embed_tokens"] })).rejects.toThrow(/embedding/);
    await expect(attached({ method: lora, patterns: { rnk: { q_proj: 4 } } })).rejects.toThrow(/patterns\.rnk/);
    const halves = await attached([
      { method: lora, name: "a" },
      { method: dora, name: "b", targets: ["q_proj"] },
    ]);
    expect(() => halves.instantiate({ active: ["c"] })).toThrow(/UNKNOWN_ADAPTER|adapter "c"/);
    expect(halves.warnings).toEqual([]);
  });
});

/** Names that exporters of PyTorch give folded weights; the scopes of nodes stay. */
async function withoutNames(model: OnnxModel): Promise<OnnxModel> {
  const imported = await importOnnx(model);
  const { graph } = imported.model;
  const renamed = new Map<string, string>();
  for (const [index, [name, { shape }]] of [...graph.initializers].entries()) {
    if (shape.length === 2 && !name.includes("embed")) renamed.set(name, `onnx::MatMul_${1000 + index}`);
  }
  const initializers = new Map(
    [...graph.initializers.values()].map((each) => {
      const name = renamed.get(each.name) ?? each.name;
      const { origin: _, ...data } = each.data;
      return [name, { ...each, name, data }] as const;
    }),
  );
  const nodes = graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map((name) => renamed.get(name) ?? name) }));
  return { ...imported.model, graph: { ...graph, initializers, nodes } };
}

const scribe = models === undefined ? undefined : join(models, "scribe");
/**
 * PyTorch 2.13 and PEFT 0.21, float32: scribe-lora-names trained on verse from its recorded factors, eight rows of the
 * recorded verse a step, AdamW at 1e-3 without decay; then the mean over all 48 rows.
 */
const torchLosses = [
  4.107512, 4.225173, 4.060315, 3.993756, 4.096911, 4.167841, 3.821312, 4.051161, 3.839261, 3.746352, 3.961235,
  4.063225,
];
const torchAfter = 3.8281076;

describe.skipIf(scribe === undefined)("the scribe", () => {
  test("reaches the loss that PyTorch reaches from the same factors and batches", async () => {
    const base = await openModel(join(scribe ?? "", "scribe-base"));
    const { model } = await buildModel(base, "text-generation", { fuse: "none" });
    const adapter = await openAdapterFolder(join(scribe ?? "", "scribe-lora-names"));
    const verse = cast(readFixtureTensors(join(scribe ?? "", "eval.safetensors")).get("verse") as Tensor, "int64");
    const data = { input_ids: verse, labels: verse };
    const training = await trainAdapter({
      runtime,
      model,
      checkpoint: base.checkpoint,
      adapter,
      batches: batches(data, { batchSize: 8, epochs: 2 }),
      learningRate: 1e-3,
      evaluation: { batches: () => batches(data, { batchSize: 8 }) },
    });
    const losses: number[] = [];
    for await (const { loss } of training) losses.push(loss);
    expect(losses).toHaveLength(12);
    losses.forEach((loss, i) => {
      expect(Math.abs(loss - torchLosses[i])).toBeLessThan(1e-4);
    });
    expect(Math.abs((await training.evaluate()).loss - torchAfter)).toBeLessThan(1e-4);
    await training.close();
    await base.checkpoint.close();
  });
});

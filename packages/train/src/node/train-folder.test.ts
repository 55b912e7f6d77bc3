import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { fixtureArea } from "@loomweight/fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { readTrainConfig, trainAdapterFolder } from "./index.ts";
import { openTrainTokenizer } from "./tokenizer.ts";

const area = fixtureArea("models");
const folder = mkdtempSync(join(tmpdir(), "loomweight-train-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = (more: Readonly<Record<string, unknown>> = {}, data: Readonly<Record<string, unknown>> = {}) => ({
  model: "base",
  out: "out",
  adapter: { method: "lora", rank: 4, alpha: 8, targets: ["q_proj", "v_proj"] },
  data: { train: "train.jsonl", length: 48, ...data },
  training: { steps: 4, batchSize: 2, learningRate: 5e-3, warmup: 1, ...more },
});

test("configurations are checked, with the closest known names", () => {
  expect(() => readTrainConfig({ ...config(), modle: 1 }, "train.yml")).toThrow(/modle.*model/s);
  expect(() => readTrainConfig(config({ learnRate: 1 }), "train.yml")).toThrow(/learnRate.*learningRate/s);
  expect(() => readTrainConfig({ ...config(), adapter: { rank: 0 } })).toThrow(/rank/);
  expect(() => readTrainConfig({ ...config(), adapter: { method: "lorra" } })).toThrow(/lora/);
  expect(() => readTrainConfig({ ...config(), adapter: { r: 4 } })).toThrow(/key of adapter/);
  expect(() => readTrainConfig({ ...config(), adapter: { targets: 3 } })).toThrow(/adapter\.targets/);
  expect(() => readTrainConfig({ ...config(), adapter: { from: "a", rank: 2 } })).toThrow(/nothing beside/);
  expect(() => readTrainConfig(config({ patience: 2 }))).toThrow(/data\.evaluation/);
  expect(() => readTrainConfig({ model: "base", data: { train: "x" } })).toThrow(/out/);
  expect(() => readTrainConfig([])).toThrow(/mapping/);
  const begins = (start: unknown) => readTrainConfig({ ...config(), adapter: { method: "lora", start } });
  expect(() => begins({ by: "evva" })).toThrow(/eva/);
  expect(() => begins({ by: "eva", rank: 3 })).toThrow(/rank/);
  expect(() => begins("eva")).toThrow(/mapping/);
  expect(begins({ by: "eva", rho: 1.5 }).start).toMatchObject({ by: "eva", rho: 1.5, tau: 0.99, metric: "ratio" });
  expect(readTrainConfig(config()).training).toMatchObject({ steps: 4, schedule: "cosine", optimizer: "adamw" });
});

describe.skipIf(area === undefined)("with the scribe", () => {
  const base = join(folder, "base");
  if (area !== undefined) cpSync(join(area, "scribe", "scribe-base"), base, { recursive: true });

  test("conversations and completions: only what is answered counts, and a resumed training is the whole one", async () => {
    writeFileSync(
      join(folder, "train.jsonl"),
      `${[
        { prompt: "First Citizen:\n", completion: "We are accounted poor citizens." },
        { text: "All: Speak, speak." },
        { prompt: "MENENIUS:\n", completion: "What work's, my countrymen, in hand?" },
        { prompt: "A", completion: "nna" },
      ]
        .map((each) => JSON.stringify(each))
        .join("\n")}\n`,
    );
    const checked = readTrainConfig(config({ saveEvery: 2 }));
    const seen: number[] = [];
    const whole = await trainAdapterFolder(checked, {
      root: folder,
      threads: 1,
      onStep: ({ loss }) => seen.push(loss),
    });
    expect(whole).toMatchObject({ steps: 4, modules: 8, ended: "batches" });
    expect(seen[3]).toBeLessThan(seen[0]);
    const bytes = readFileSync(join(folder, "out", "adapter_model.safetensors"));
    await expect(trainAdapterFolder(checked, { root: folder })).rejects.toThrow(/OUTPUT_EXISTS|holds an adapter/);

    // Two steps of the same schedule, then the rest.
    const stop = new AbortController();
    const half = trainAdapterFolder(checked, {
      root: folder,
      threads: 1,
      force: true,
      signal: stop.signal,
      onStep: ({ step }) => step === 3 && stop.abort(),
    });
    await expect(half).rejects.toThrow(/stopped|ABORTED/);
    await trainAdapterFolder(checked, { root: folder, threads: 1, resume: true });
    expect(readFileSync(join(folder, "out", "adapter_model.safetensors")).equals(bytes)).toBe(true);
    const adapter = await openAdapterFolder(join(folder, "out"));
    expect(adapter.config.values).toMatchObject({ task_type: "CAUSAL_LM", r: 4, base_model_name_or_path: "base" });
    await adapter.checkpoint.close();
  });

  test("a chat template that never ends is stopped, and one that works marks the answers", async () => {
    writeFileSync(
      join(base, "chat_template.jinja"),
      "{% for i in range(100000000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
    );
    await expect(async () => (await openTrainTokenizer(base)).chat([{ role: "user", content: "a" }])).rejects.toThrow(
      /template/,
    );
    writeFileSync(
      join(base, "chat_template.jinja"),
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    );
    writeFileSync(
      join(folder, "chat.jsonl"),
      `${JSON.stringify({
        messages: [
          { role: "user", content: "Who?" },
          { role: "assistant", content: "Romeo" },
        ],
      })}\n`,
    );
    const result = await trainAdapterFolder(
      readTrainConfig({ ...config({ steps: 1 }, { train: "chat.jsonl" }), out: "chat" }),
      {
        root: folder,
        threads: 1,
      },
    );
    expect(result.loss).toBeGreaterThan(0);
    writeFileSync(join(folder, "bad.jsonl"), '{"text": "a"}\n{"txt": "b"}\n');
    await expect(
      trainAdapterFolder(readTrainConfig({ ...config({}, { train: "bad.jsonl" }), out: "bad" }), { root: folder }),
    ).rejects.toThrow(/line 2/);
  });

  test("packed rows train", async () => {
    writeFileSync(join(folder, "packed.txt"), "All: Speak, speak.\nFirst Citizen: Resolved.\n".repeat(6));
    const packed = readTrainConfig({
      ...config({ steps: 2 }, { train: "packed.txt", length: 16, packing: true }),
      out: "packed",
    });
    const made = await trainAdapterFolder(packed, { root: folder, threads: 1 });
    expect(made.steps).toBe(2);
    expect(made.loss).toBeGreaterThan(0);
  });

  test("a start from data: EVA deals out the ranks, CorDA's file is a plain LoRA", async () => {
    writeFileSync(
      join(folder, "train.jsonl"),
      `${JSON.stringify({ text: "First Citizen: Speak, speak. We know it." })}\n`,
    );
    const begun = async (start: Readonly<Record<string, unknown>>, out: string) => {
      const adapter = { method: "lora", rank: 2, alpha: 4, targets: ["q_proj", "v_proj", "down_proj"], start };
      const checked = readTrainConfig({ ...config({ steps: 2, batchSize: 1 }), adapter, out });
      const { warnings } = await trainAdapterFolder(checked, { root: folder, threads: 1 });
      return { warnings, written: JSON.parse(readFileSync(join(folder, out, "adapter_config.json"), "utf8")) };
    };
    const eva = await begun({ by: "eva", rho: 2, maxBatches: 4 }, "eva");
    expect(eva.written).toMatchObject({ init_lora_weights: "eva", eva_config: { rho: 2, tau: 0.99 }, r: 2 });
    expect(Object.keys(eva.written.rank_pattern).length).toBeGreaterThan(0);
    const corda = await begun({ by: "corda", mode: "kpm" }, "corda");
    expect(corda.written).toMatchObject({ init_lora_weights: true, r: 4, lora_alpha: 8 });
    const adapter = await openAdapterFolder(join(folder, "corda"));
    expect([...adapter.modules.values()][0].params.get("A")?.shape[0]).toBe(4);
    await adapter.checkpoint.close();
  });
});

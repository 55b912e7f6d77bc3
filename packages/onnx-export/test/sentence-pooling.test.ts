import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModelFromFiles, writeSafetensors } from "@loomweight/checkpoint";
import { fixtureArea } from "@loomweight/fixtures";
import { openSession } from "@loomweight/graph/node";
import { zeros } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { exportedConfig } from "../src/index.ts";
import { exportFolder } from "../src/node/index.ts";
import { sentencePooling } from "../src/sentence-pooling.ts";

const module = (type: string) => ({ idx: 0, name: "0", path: "", type: `sentence_transformers.models.${type}` });

async function folderOf(files: Readonly<Record<string, unknown>>) {
  return openModelFromFiles(
    new Map([
      ["model.safetensors", writeSafetensors(new Map([["w", zeros([1])]]))] as const,
      ...Object.entries(files).map(([name, value]) => [name, new TextEncoder().encode(JSON.stringify(value))] as const),
    ]),
  );
}

const pooling = "1_Pooling/config.json";
const modules = ["Transformer", "Pooling", "Normalize"].map(module);
const mean = { word_embedding_dimension: 8, pooling_mode_cls_token: false, pooling_mode_mean_tokens: true };

test("modes and normalisation are read as the folder states them", async () => {
  const read = async (files: Readonly<Record<string, unknown>>) =>
    (await sentencePooling(await folderOf(files))).pooling;
  expect(await read({ "modules.json": modules, [pooling]: mean })).toEqual({ modes: ["mean"], normalize: true });
  expect(await read({ "modules.json": modules.slice(0, 2), [pooling]: { pooling_mode: "lasttoken" } })).toEqual({
    modes: ["lasttoken"],
    normalize: false,
  });
  const both = { pooling_mode_mean_tokens: true, pooling_mode_cls_token: true, pooling_mode_max_tokens: true };
  expect(await read({ "modules.json": modules, [pooling]: both })).toEqual({
    modes: ["cls", "max", "mean"],
    normalize: true,
  });
  expect(await read({})).toBeUndefined();
  expect(await read({ "modules.json": modules.slice(0, 1) })).toBeUndefined();
});

test("what the graph does not compute is said, and nothing is pooled", async () => {
  const cases: readonly (readonly [Readonly<Record<string, unknown>>, RegExp])[] = [
    [{ "modules.json": [...modules, module("Dense")], [pooling]: mean }, /Dense/],
    [{ "modules.json": modules }, /no 1_Pooling/],
    [{ "modules.json": modules, [pooling]: { pooling_mode: "attention" } }, /attention/],
    [{ "modules.json": modules, [pooling]: {} }, /none/],
    [{ "modules.json": modules, [pooling]: { ...mean, include_prompt: false } }, /prompt/],
  ];
  for (const [files, message] of cases) {
    const { pooling: made, warnings } = await sentencePooling(await folderOf(files));
    expect(made).toBeUndefined();
    expect(warnings).toHaveLength(1);
    expect(warnings[0].code).toBe("SENTENCE_POOLING_NOT_BUILT");
    expect(warnings[0].message).toMatch(message);
  }
});

test("a list of modules that is none is refused", async () => {
  const folder = await folderOf({ "modules.json": { type: "Pooling" } });
  await expect(sentencePooling(folder)).rejects.toMatchObject({ code: "INVALID_JSON" });
});

describe.skipIf(fixtureArea("architectures") === undefined)("a folder of sentence-transformers", () => {
  test("gives sentence_embedding of unit length, and takes its settings along", { timeout: 60_000 }, async () => {
    const root = mkdtempSync(join(tmpdir(), "loomweight-sentences-"));
    try {
      const folder = join(root, "model");
      cpSync(join(fixtureArea("architectures") ?? "", "bert"), folder, { recursive: true });
      writeFileSync(join(folder, "modules.json"), JSON.stringify(modules));
      mkdirSync(join(folder, "1_Pooling"));
      writeFileSync(join(folder, pooling), JSON.stringify(mean));
      const out = join(root, "web");
      const report = await exportFolder(folder, out, { dtypes: ["fp32", "q8"] }); // its class is BertForMaskedLM
      expect(report.task).toBe("feature-extraction");
      expect(report.companions).toEqual(expect.arrayContaining(["modules.json", pooling]));
      expect(await readdir(join(out, "1_Pooling"))).toEqual(["config.json"]);
      const session = await openSession(join(out, "onnx/model.onnx"), { threads: 1 });
      expect(session.outputs.map(({ name }) => name)).toEqual(["last_hidden_state", "sentence_embedding"]);
      expect(session.outputs[1].shape).toEqual(["batch_size", 32]);
      await session.close();
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});

test("config.json of an encoder–decoder says what transformers.js does not guess", () => {
  const options = { dtypes: ["fp32", "q8"], externalFiles: new Map(), labels: undefined } as const;
  const written = (config: Readonly<Record<string, unknown>>, encoderDecoder: boolean) =>
    JSON.parse(exportedConfig(config, { ...options, encoderDecoder }));
  expect(written({ model_type: "t5", num_layers: 3 }, true)).toEqual({
    model_type: "t5",
    num_layers: 3,
    is_encoder_decoder: true,
    num_decoder_layers: 3,
  });
  const whole = { model_type: "t5", num_layers: 3, num_decoder_layers: 2, is_encoder_decoder: true };
  expect(written(whole, true)).toEqual(whole);
  expect(written({ model_type: "bert", num_layers: 3 }, false)).toEqual({ model_type: "bert", num_layers: 3 });
});

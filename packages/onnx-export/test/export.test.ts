import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ModelFolder, openModelFromFiles } from "@loomweight/checkpoint";
import { createOutputFolder, type FileOutputFolder } from "@loomweight/checkpoint/node";
import { openOnnxFile } from "@loomweight/graph/node";
import { LoomweightError } from "@loomweight/tensor";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ExportDType } from "../src/index.ts";
import { type ExportModelOptions, exportModel } from "../src/node/index.ts";
import { type LlamaChanges, llamaConfig, llamaShapes, tinyLlamaFiles } from "./tiny-llama.ts";

let root = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "loomweight-export-test-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function tinyLlama(
  files: Readonly<Record<string, unknown>> = {},
  changed: LlamaChanges = {},
): Promise<ModelFolder> {
  return openModelFromFiles(tinyLlamaFiles(files, changed));
}

async function exported(folder: ModelFolder, options: ExportModelOptions, name = "web") {
  const output: FileOutputFolder = await createOutputFolder(join(root, name));
  const report = await exportModel(folder, output, options);
  await output.commit();
  const json = async (file: string) => JSON.parse(await readFile(join(root, name, file), "utf8"));
  return { report, json, path: join(root, name) };
}

test("every dtype is written under the name transformers.js asks for, runs, and is near fp32", async () => {
  const dtypes: ExportDType[] = ["fp32", "fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4", "bf16"];
  const { report, path } = await exported(await tinyLlama(), { dtypes });
  expect((await readdir(join(path, "onnx"))).sort()).toEqual(
    ["", "_bf16", "_bnb4", "_fp16", "_int8", "_q4", "_q4f16", "_quantized", "_uint8"].map(
      (suffix) => `model${suffix}.onnx`,
    ),
  );
  for (const { dtype, verification } of report.files) {
    const limits = { fp32: 0, fp16: 0.005, q8: 0.1, int8: 0.1, uint8: 0.1, q4: 0.5, q4f16: 0.5, bnb4: 0.5, bf16: 0.01 };
    const limit = limits[dtype];
    expect(verification.ran, dtype).toBe(true);
    expect(verification.maxDifference, dtype).toBeLessThanOrEqual(limit * (verification.largest ?? 0));
  }
  const weights = (dtype: ExportDType) => report.files.find((file) => file.dtype === dtype)?.weights ?? [];
  expect(weights("fp32")).toEqual([]);
  expect(weights("q4").map(({ name }) => name)).toContain("lm_head.weight");
  for (const { name, sqnr } of weights("q4")) expect(sqnr, name).toBeGreaterThan(18);
});

test("weights beyond float16's range become its largest value, which is said", async () => {
  const large = ["model.layers.0.mlp.down_proj.weight", "model.embed_tokens.weight"];
  const { report } = await exported(await tinyLlama({}, { large }), {
    dtypes: ["fp32", "fp16", "bf16"],
    verify: false,
  });
  const found = report.warnings.filter(({ code }) => code === "BEYOND_FLOAT16");
  expect(found.map(({ file, message }) => `${file} ${message.split(" beyond")[0]}`).sort()).toEqual([
    "model_fp16.onnx model.embed_tokens.weight: 2 values",
    "model_fp16.onnx model.layers.0.mlp.down_proj.weight: 2 values",
  ]);
  const { model, close } = await openOnnxFile(join(root, "web", "onnx", "model_fp16.onnx"));
  const codes = await model.graph.initializers.get("model.embed_tokens.weight")?.data.read();
  expect(Array.from(codes?.data.slice(1, 3) as Uint16Array)).toEqual([0x7bff, 0xfbff]);
  await close();
});

test("the same model gives the same bytes", async () => {
  const dtypes: ExportDType[] = ["fp32", "fp16", "q8", "q4"];
  const one = await exported(await tinyLlama(), { dtypes, verify: false }, "one");
  const two = await exported(await tinyLlama(), { dtypes, verify: false }, "two");
  for (const file of [...(await readdir(join(one.path, "onnx"))).map((name) => `onnx/${name}`), "config.json"]) {
    expect(await readFile(join(two.path, file)), file).toEqual(await readFile(join(one.path, file)));
  }
});

test("a tied head is not stored twice in fp32", async () => {
  const { report } = await exported(await tinyLlama(), { dtypes: ["fp32"], verify: false });
  const parameters = Object.values(llamaShapes).reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const [fp32] = report.files;
  expect(fp32.bytes).toBeGreaterThan(4 * parameters);
  expect(fp32.bytes).toBeLessThan(4 * parameters + 4 * 40 * 32 + 20_000);
});

describe("config.json of an export", () => {
  test("keeps the model's fields and says nothing when the defaults are there", async () => {
    const { json } = await exported(await tinyLlama(), { dtypes: ["fp32", "q8"], verify: false });
    expect(await json("config.json")).toEqual(llamaConfig);
  });

  test("names a dtype when the default ones are missing", async () => {
    const { json } = await exported(await tinyLlama(), { dtypes: ["q4f16"], verify: false });
    expect((await json("config.json"))["transformers.js_config"]).toEqual({ dtype: "q4f16" });
  });

  test("counts the files of external data, which browsers cannot guess", async () => {
    const { json, report } = await exported(await tinyLlama(), {
      dtypes: ["fp32", "q8"],
      externalData: true,
      maxExternalBytes: 16_384,
    });
    expect(report.files[0].external).toEqual(["model.onnx_data", "model.onnx_data_1", "model.onnx_data_2"]);
    expect(report.files[0].verification.ran).toBe(true);
    const settings = (await json("config.json"))["transformers.js_config"];
    expect(settings.use_external_data_format["model.onnx"]).toBe(3);
    expect(settings.use_external_data_format["model_quantized.onnx"]).toBeGreaterThanOrEqual(1);
  });
});

describe("files beside the graphs", () => {
  test("generation settings are made from config.json when there are none, and kept when there are", async () => {
    const made = await exported(await tinyLlama(), { dtypes: ["q4"], verify: false }, "made");
    expect(await made.json("generation_config.json")).toEqual({ bos_token_id: 1, eos_token_id: [2, 3] });
    const folder = await tinyLlama({ "generation_config.json": { top_k: 3 } });
    const kept = await exported(folder, { dtypes: ["q4"], verify: false }, "kept");
    expect(await kept.json("generation_config.json")).toEqual({ top_k: 3 });
  });

  test("a chat template of its own file is put where transformers.js reads it", async () => {
    const folder = await tinyLlama({
      "tokenizer.json": {},
      "tokenizer_config.json": { tokenizer_class: "LlamaTokenizer" },
      "chat_template.jinja": "{{ messages }}",
    });
    const { json, report } = await exported(folder, { dtypes: ["q4"], verify: false });
    expect(await json("tokenizer_config.json")).toEqual({
      tokenizer_class: "LlamaTokenizer",
      chat_template: "{{ messages }}",
    });
    expect(report.companions).toContain("chat_template.jinja");
    expect(report.warnings.map(({ code }) => code)).toEqual(["SLOW_ON_WASM"]);
  });

  test("a first token that the tokenizer adds is asked for, unless the settings already say", async () => {
    const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
    const tokenizer = { post_processor: { type: "Sequence", processors: [{ type: "TemplateProcessing", single }] } };
    const asked = await tinyLlama({ "tokenizer.json": tokenizer, "tokenizer_config.json": {} });
    const one = await exported(asked, { dtypes: ["q4"], verify: false }, "one");
    expect(await one.json("tokenizer_config.json")).toEqual({ add_bos_token: true });
    const said = await tinyLlama({ "tokenizer.json": tokenizer, "tokenizer_config.json": { add_bos_token: false } });
    const two = await exported(said, { dtypes: ["q4"], verify: false }, "two");
    expect(await two.json("tokenizer_config.json")).toEqual({ add_bos_token: false });
  });

  test("missing tokenizer files are warned of, and what is not on the allow-list stays behind", async () => {
    const folder = await tinyLlama({ "modeling_x.py": "import os", LICENSE: "free" });
    const { report, path } = await exported(folder, { dtypes: ["fp32"], verify: false });
    expect(report.warnings.filter(({ code }) => code === "MISSING_TOKENIZER")).toHaveLength(2);
    expect((await readdir(path)).sort()).toEqual(["LICENSE", "config.json", "generation_config.json", "onnx"]);
  });
});

describe("an export that cannot be right is refused and leaves nothing", () => {
  async function refusal(folder: ModelFolder, options: ExportModelOptions): Promise<LoomweightError> {
    const output = await createOutputFolder(join(root, "web"));
    try {
      await exportModel(folder, output, options);
    } catch (error) {
      await output.discard();
      expect(await readdir(root)).toEqual([]);
      expect(error).toBeInstanceOf(LoomweightError);
      return error as LoomweightError;
    }
    throw new Error("it was exported");
  }

  test("an unknown dtype", async () => {
    const error = await refusal(await tinyLlama(), { dtypes: ["q5" as ExportDType] });
    expect(error.code).toBe("INVALID_OPTION");
    expect(error.message).toMatch(/"q5".*Did you mean "q4"/);
  });

  test("no dtype at all", async () => {
    expect((await refusal(await tinyLlama(), { dtypes: [] })).code).toBe("INVALID_OPTION");
  });

  test("a weight that is not finite, found when it is quantized", async () => {
    const name = "model.layers.0.mlp.up_proj.weight";
    const error = await refusal(await tinyLlama({}, { nan: name }), { dtypes: ["q4"] });
    expect(error.code).toBe("NON_FINITE_WEIGHT");
    expect(error.message).toContain(name);
  });

  test("a weight that is not finite, found when the fp32 file is run", async () => {
    const folder = await tinyLlama({}, { nan: "model.layers.0.mlp.up_proj.weight" });
    const error = await refusal(folder, { dtypes: ["fp32"] });
    expect(error.code).toBe("VERIFICATION_FAILED");
    expect(error.message).toContain("model.onnx");
  });

  test("a task of another kind of model", async () => {
    expect((await refusal(await tinyLlama(), { task: "fill-mask" })).code).toBe("UNSUPPORTED_TASK");
  });
});

test("an export is stopped between two weights", async () => {
  const output = await createOutputFolder(join(root, "web"));
  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error("enough"));
  const folder = await tinyLlama();
  await expect(
    exportModel(folder, output, { dtypes: ["fp32"], signal: controller.signal, onProgress }),
  ).rejects.toThrow("enough");
  expect(await readdir(join(output.path, "onnx"))).toEqual([]);
  await output.discard();
});

import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import { fixturesRoot } from "@loomweight/fixtures";
import { openOnnxFile, writeOnnxFile } from "@loomweight/graph/node";
import { toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exportFolder, verifyExport } from "../src/node/index.ts";

const model = (name: string) => join(fixturesRoot(), "models", "scribe", name);
let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "loomweight-verify-test-"));
  await exportFolder(model("scribe-base"), join(root, "web"), { dtypes: ["fp32", "q8", "q4"], verify: false });
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

/** A copy of the export for one test to break. */
async function copied(name: string): Promise<string> {
  const path = join(root, name);
  await cp(join(root, "web"), path, { recursive: true });
  return path;
}

/** Token ids of 48 windows of text, and the model's recorded loss on them. */
async function recordedText(): Promise<{ ids: number[]; loss: number }> {
  const folder = join(fixturesRoot(), "models", "scribe");
  const checkpoint = await openCheckpoint(join(folder, "eval.safetensors"));
  const ids = toFloat64(await checkpoint.read("plays"));
  await checkpoint.close();
  const expected = JSON.parse(await readFile(join(folder, "expected.json"), "utf8"));
  return { ids: Array.from(ids), loss: expected.models["scribe-base"].loss.plays };
}

const errors = (findings: readonly { level: string; code: string }[]) =>
  findings.filter(({ level }) => level === "error").map(({ code }) => code);

test("an export is right against its own model: every output close, perplexity as the model's", async () => {
  const { ids, loss } = await recordedText();
  const result = await verifyExport(join(root, "web"), { against: model("scribe-base"), text: ids, window: 128 });
  expect(result).toMatchObject({ good: true, findings: [], reference: model("scribe-base") });
  expect(result.files.map(({ name, dtype }) => [name, dtype])).toEqual([
    ["onnx/model.onnx", "fp32"],
    ["onnx/model_q4.onnx", "q4"],
    ["onnx/model_quantized.onnx", "q8"],
  ]);
  for (const { dtype, outputs } of result.files) {
    expect(outputs.map(({ name }) => name)).toContain("logits");
    expect(outputs.filter(({ name }) => name.startsWith("present.")).length % 2).toBe(0);
    for (const { relative } of outputs) expect(relative).toBeLessThan(dtype === "fp32" ? 1e-5 : 0.3);
  }
  // windows of 128 tokens, of which the first has nothing before it
  expect(result.referencePerplexity?.tokens).toBe(48 * 127);
  const losses = [result.referencePerplexity, ...result.files.map(({ perplexity }) => perplexity)].map((each) =>
    Math.log(each?.value ?? Number.NaN),
  );
  expect(Math.abs(losses[0] - loss)).toBeLessThan(1e-3); // the fixture's tolerance
  expect(Math.abs(losses[1] - loss)).toBeLessThan(1e-3);
  for (const quantized of losses.slice(2)) expect(Math.abs(quantized - loss)).toBeLessThan(0.15);
}, 60_000);

test("without a model the fp32 file is what the others are compared with", async () => {
  const result = await verifyExport(join(root, "web"));
  expect(result).toMatchObject({ good: true, reference: "fp32" });
  expect(result.files.map(({ outputs }) => outputs.length > 0)).toEqual([false, true, true]);
}, 60_000);

test("an export of other weights than the model's is found out", async () => {
  const result = await verifyExport(join(root, "web"), { against: model("scribe-plays") });
  expect(result.good).toBe(false);
  expect(errors(result.files[0].findings)).toContain("DIFFERENCE");
}, 60_000);

test("a file that is cut off, a fixed axis and a missing cache output are each said of their file", async () => {
  const path = await copied("broken");
  await writeFile(join(path, "onnx", "model_q4.onnx"), new Uint8Array([8, 10, 58]));
  const file = join(path, "onnx", "model.onnx");
  const { model: graph, close } = await openOnnxFile(file);
  const inputs = graph.graph.inputs.map((input) =>
    input.name === "input_ids" ? { ...input, shape: [1, "sequence_length"] } : input,
  );
  const outputs = graph.graph.outputs.filter(({ name }) => name !== "present.1.value");
  await writeOnnxFile(`${file}.new`, { ...graph, graph: { ...graph.graph, inputs, outputs } }, {});
  await close();
  await rename(`${file}.new`, file);
  const { good, files } = await verifyExport(path);
  expect(good).toBe(false);
  expect(errors(files[0].findings)).toEqual(expect.arrayContaining(["FIXED_AXIS", "CACHE_NAMES"]));
  expect(errors(files[1].findings)).toEqual(["INVALID_ONNX"]);
  expect(errors(files[2].findings)).toEqual([]);
}, 60_000);

test("files that transformers.js asks for, and external data that is announced, are missed", async () => {
  const path = await copied("incomplete");
  await rm(join(path, "tokenizer.json"));
  const settings = { use_external_data_format: { "model.onnx": 2 } };
  await writeFile(join(path, "config.json"), JSON.stringify({ vocab_size: 100, "transformers.js_config": settings }));
  const { good, findings } = await verifyExport(path);
  expect(good).toBe(false);
  expect(findings.map(({ level, code }) => `${level} ${code}`)).toEqual([
    "error CONFIG",
    "warning MISSING_FILE",
    "error EXTERNAL_DATA",
  ]);
}, 60_000);

test("what is no export is refused", async () => {
  await expect(verifyExport(join(root, "nothing"))).rejects.toMatchObject({ code: "MISSING_FILE" });
  await expect(verifyExport(model("scribe-base"))).rejects.toMatchObject({ code: "MISSING_FILE" });
  await expect(verifyExport(join(root, "web", "config.json"))).rejects.toMatchObject({ code: "INVALID_PATH" });
});

import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import { fixturesRoot } from "@loomweight/fixtures";
import { initializer } from "@loomweight/graph";
import { openOnnxFile, writeOnnxFile } from "@loomweight/graph/node";
import { fromData, toFloat64, zeros } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exportFolder, verifyExport } from "../src/node/index.ts";
import { checkGraph } from "../src/verify/check-graph.ts";

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

/** Rewrites the q4 file of an export with other bytes for the weights that `change` is given. */
async function changeQ4(path: string, change: (name: string, bytes: Uint8Array) => Uint8Array): Promise<void> {
  const file = join(path, "onnx", "model_q4.onnx");
  const { model: graph, close } = await openOnnxFile(file);
  const initializers = new Map(
    [...graph.graph.initializers].map(([name, each]) => {
      if (each.dtype !== "uint8") return [name, each];
      const read = async () => {
        const { data, shape } = await each.data.read();
        return fromData("uint8", change(name, Uint8Array.from(data as Uint8Array)), shape);
      };
      return [name, { ...each, data: { dtype: each.dtype, shape: each.shape, read } }];
    }),
  );
  await writeOnnxFile(`${file}.new`, { ...graph, graph: { ...graph.graph, initializers } }, {});
  await close();
  await rename(`${file}.new`, file);
}

const isCodes = (name: string) => name.includes("down_proj");
const breaks: Readonly<Record<string, (name: string, bytes: Uint8Array) => Uint8Array>> = {
  "the two halves of each byte swapped in one layer's matrix": (name, bytes) =>
    isCodes(name) && name.includes("layers.1.") ? bytes.map((byte) => (byte >> 4) | ((byte & 15) << 4)) : bytes,
  "codes of a matrix moved by one block": (name, bytes) =>
    isCodes(name) && name.includes("layers.1.") ? new Uint8Array([...bytes.slice(16), ...bytes.slice(0, 16)]) : bytes,
  "zero points off by one everywhere": (name, bytes) =>
    isCodes(name) ? bytes.map((byte) => (Math.min(15, (byte >> 4) + 1) << 4) | Math.min(15, (byte & 15) + 1)) : bytes,
};

test.each(Object.keys(breaks))(
  "a q4 file with %s is found out, with and without the model",
  async (what) => {
    const path = await copied(`broken ${what}`);
    let changed = 0;
    await changeQ4(path, (name, bytes) => {
      const made = breaks[what](name, bytes);
      if (made !== bytes) changed++;
      return made;
    });
    expect(changed).toBeGreaterThan(0);
    for (const options of [{}, { against: model("scribe-base") }]) {
      const { files } = await verifyExport(path, options);
      const [, q4, q8] = files;
      expect(errors(q4.findings)).toContain("DIFFERENCE");
      expect(errors(q8.findings)).toEqual([]);
    }
  },
  60_000,
);

test("limits of rounded files follow from what rounding this model costs", async () => {
  for (const options of [{}, { against: model("scribe-base") }]) {
    const { files } = await verifyExport(join(root, "web"), options);
    for (const { dtype, outputs } of files.filter((each) => each.outputs.length > 0)) {
      const bounds = { fp32: 1e-4, q4: 0.25, q8: 0.06 } as Record<string, number>;
      for (const { relative, limit = Number.POSITIVE_INFINITY } of outputs) {
        expect(limit).toBeLessThanOrEqual(bounds[dtype]);
        expect(relative).toBeLessThanOrEqual(limit);
      }
    }
  }
}, 60_000);

test("a folder of onnxruntime-genai: its names and sizes, and the weights that model.onnx holds", async () => {
  const path = join(root, "genai");
  await exportFolder(model("scribe-base"), path, { target: "genai", dtypes: ["q4"], verify: false });
  const result = await verifyExport(path, { against: model("scribe-base") });
  expect(result).toMatchObject({ good: true, findings: [] });
  expect(result.files.map(({ name, dtype }) => [name, dtype])).toEqual([["model.onnx", "q4"]]);
  const settings = JSON.parse(await readFile(join(path, "genai_config.json"), "utf8"));
  settings.model.decoder.num_hidden_layers = 9;
  settings.model.decoder.head_size = 7;
  settings.model.decoder.inputs.position_ids = "positions";
  await writeFile(join(path, "genai_config.json"), JSON.stringify(settings));
  const { good, files } = await verifyExport(path);
  expect(good).toBe(false);
  expect(errors(files[0].findings)).toEqual([
    "GENAI_NAMES",
    "GENAI_NAMES",
    "GENAI_NAMES",
    "GENAI_NAMES",
    "GENAI_NAMES",
    "GENAI_SIZES",
    "GENAI_SIZES",
  ]);
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

test("num_logits_to_keep is known: right as int64 without axes, a fault with one, as transformers.js feeds none", async () => {
  const path = join(root, "kept");
  await exportFolder(model("scribe-base"), path, { dtypes: ["fp32"], logitsToKeep: true, verify: false });
  const right = await verifyExport(path, { against: model("scribe-base") });
  expect({ good: right.good, found: errors(right.files[0].findings) }).toEqual({ good: true, found: [] });
  const { model: graph, close } = await openOnnxFile(join(path, "onnx", "model.onnx"));
  await close();
  const inputs = graph.graph.inputs.map((input) =>
    input.name === "num_logits_to_keep" ? { ...input, dtype: "int32" as const, shape: [1] } : input,
  );
  const findings = checkGraph({ ...graph, graph: { ...graph.graph, inputs } });
  expect(findings.map(({ code }) => code)).toEqual(expect.arrayContaining(["INPUT_DTYPE", "INPUT_RANK"]));
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

test("float64 in a graph is a warning: pages with WebGPU have no kernel for it", async () => {
  const path = await copied("double");
  const file = join(path, "onnx", "model.onnx");
  const { model: graph, close } = await openOnnxFile(file);
  const initializers = new Map([...graph.graph.initializers, ["wide", initializer("wide", zeros([2], "float64"))]]);
  await writeOnnxFile(`${file}.new`, { ...graph, graph: { ...graph.graph, initializers } }, {});
  await close();
  await rename(`${file}.new`, file);
  const { files } = await verifyExport(path);
  expect(files[0].findings.map(({ level, code }) => `${level} ${code}`)).toEqual(["warning FLOAT64"]);
  expect(files[0].findings[0].message).toContain('"wide" is float64');
}, 60_000);

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ExportDType } from "../src/index.ts";
import { type ExportFolderOptions, exportFolder, quantizeFile } from "../src/node/index.ts";
import { type LlamaChanges, tinyLlamaFiles } from "./tiny-llama.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "loomweight-threads-"));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

/** The folder of a model, on disk: threads open it for themselves. */
function model(changed: LlamaChanges = {}): string {
  const folder = join(root, "base");
  mkdirSync(folder);
  for (const [name, bytes] of tinyLlamaFiles({}, changed)) writeFileSync(join(folder, name), bytes);
  return folder;
}

function digests(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return Object.fromEntries(
    names.map(({ parentPath, name }) => [
      name,
      createHash("sha256")
        .update(readFileSync(join(parentPath, name)))
        .digest("hex"),
    ]),
  );
}

const dtypes: readonly ExportDType[] = ["fp32", "fp16", "q8", "q4", "bnb4", "bf16"];

test("one, two and four threads write the same bytes, reports and warnings", { timeout: 60_000 }, async () => {
  const path = model({ large: ["model.layers.0.mlp.down_proj.weight"] });
  const exported = async (workers: number) => {
    const out = join(root, `out${workers}`);
    const settings: ExportFolderOptions = { dtypes, verify: false, workers, quantize: { symmetric: false } };
    const report = await exportFolder(path, out, { ...settings, externalData: true });
    return { report, files: digests(out) };
  };
  const alone = await exported(1);
  expect(Object.keys(alone.files)).toContain("model_q4.onnx_data");
  expect(alone.report.warnings.map(({ code }) => code)).toContain("BEYOND_FLOAT16");
  expect(alone.report.files.find(({ dtype }) => dtype === "q4")?.weights.length).toBeGreaterThan(4);
  expect(await exported(2)).toEqual(alone);
  expect(await exported(4)).toEqual(alone);
});

test("quantizing a file gives the same bytes with threads", async () => {
  await exportFolder(model(), join(root, "out"), { dtypes: ["fp32"], verify: false });
  const input = join(root, "out/onnx/model.onnx");
  const alone = await quantizeFile(input, join(root, "out/q4.onnx"), "q4", { workers: 1 });
  const bytes = readFileSync(join(root, "out/q4.onnx"));
  const progress: number[] = [];
  const onProgress = (done: number, total: number) => void progress.push(done / total);
  const shared = await quantizeFile(input, join(root, "out/q4.onnx"), "q4", { workers: 3, force: true, onProgress });
  expect(shared).toEqual(alone);
  expect(readFileSync(join(root, "out/q4.onnx")).equals(bytes)).toBe(true);
  expect(progress.at(-1)).toBe(1);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
});

describe("what fails in a thread", () => {
  const dyingTensors = ["model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.down_proj.weight"];
  test.each(dyingTensors)("NaN in %s is told by its name, and nothing is left", async (nan) => {
    const path = model({ nan });
    const failing = exportFolder(path, join(root, "out"), { dtypes: ["q4"], verify: false, workers: 3 });
    await expect(failing).rejects.toMatchObject({ code: "NON_FINITE_WEIGHT", details: { tensor: nan } });
    expect(readdirSync(root)).toEqual(["base"]);
  });

  test("a signal stops it", async () => {
    const stop = new AbortController();
    const onProgress = () => stop.abort(new Error("stopped by the test"));
    const options: ExportFolderOptions = { dtypes: ["q8"], verify: false, workers: 2, signal: stop.signal, onProgress };
    await expect(exportFolder(model(), join(root, "out"), options)).rejects.toThrow("stopped by the test");
    expect(readdirSync(root)).toEqual(["base"]);
  });

  test.each([0, 1.5, 65, Number.NaN])("%s threads are refused", async (workers) => {
    await expect(exportFolder(model(), join(root, "out"), { workers })).rejects.toMatchObject({
      code: "INVALID_OPTION",
      details: { option: "workers" },
    });
  });
});

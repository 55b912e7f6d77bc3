import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { fixtureArea } from "@loomweight/fixtures";
import type { OnnxModel } from "@loomweight/graph";
import { openOnnxFile } from "@loomweight/graph/node";
import { contiguousData } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { reweightFolder } from "../src/node/index.ts";
import { otherModel, withFolder } from "./reweighted.ts";

const area = fixtureArea("architectures") ?? "";
const data = new URL("data/", import.meta.url);
const cases = readdirSync(data)
  .filter((name) => name.startsWith("genai-") && name.endsWith(".onnx.gz"))
  .map((name) => name.slice("genai-".length, -".onnx.gz".length));

/** Digest of all initializers, as pack_genai.py makes it. */
async function digestOf(model: OnnxModel): Promise<string> {
  const digest = createHash("sha256");
  const names = [...model.graph.initializers.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const name of names) {
    const values = contiguousData((await model.graph.initializers.get(name)?.data.read()) as never) as Uint8Array;
    digest.update(name).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return digest.digest("hex");
}

async function digestOfFile(path: string): Promise<string> {
  const { model, close } = await openOnnxFile(path);
  return digestOf(model).finally(close);
}

describe("exports of onnxruntime-genai's builder: every byte of a fresh one", () => {
  for (const name of cases) {
    const model = name.split("-")[0];
    for (const withBase of [true, false]) {
      test(`${name}, ${withBase ? "by values" : "by names"}`, async (context) => {
        if (!existsSync(join(area, model))) return context.skip(`there is no fixture of ${model} here`);
        const base = join(area, model);
        await withFolder(async (root) => {
          const old = join(root, `${name}.onnx`);
          await writeFile(old, gunzipSync(await readFile(new URL(`genai-${name}.onnx.gz`, data))));
          const options = { verify: false, ...(withBase ? { base } : {}) };
          const fresh = await otherModel(base, join(root, "new"));
          const { files } = await reweightFolder(old, fresh, join(root, "out"), options);
          expect(files[0].unused).toEqual([]);
          const expected = JSON.parse(await readFile(new URL(`genai-${name}.json`, data), "utf8"));
          expect(await digestOfFile(join(root, "out", `${name}.onnx`))).toBe(expected.fresh);
          // its own weights put in again: nothing changes
          await reweightFolder(old, base, join(root, "same"), options);
          expect(await digestOfFile(join(root, "same", `${name}.onnx`))).toBe(await digestOfFile(old));
        });
      });
    }
  }
});

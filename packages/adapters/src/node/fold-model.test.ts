import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "@loomweight/checkpoint";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import type { Tensor } from "@loomweight/tensor";
import { afterEach, beforeEach, expect, test } from "vitest";
import { float32, smallAdapter, smallConfig, smallModel, weights } from "../../test/small.ts";
import { foldModel } from "./fold-model.ts";

let folder = "";
const at = (...names: string[]) => join(folder, ...names);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-fold-"));
  writeModel("base", smallModel());
  writeAdapterFolder("adapter", smallAdapter());
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function writeModel(name: string, tensors: ReadonlyMap<string, Tensor>, config: object = smallConfig): void {
  mkdirSync(at(name));
  writeFileSync(at(name, "model.safetensors"), writeSafetensors(tensors));
  writeFileSync(at(name, "config.json"), JSON.stringify(config));
  writeFileSync(at(name, "tokenizer.json"), "{}");
  writeFileSync(at(name, "README.md"), "---\nlicense: apache-2.0\n---\n# base\n");
  writeFileSync(at(name, "modeling.py"), "import os");
}

function writeAdapterFolder(name: string, { config, tensors }: ReturnType<typeof smallAdapter>): void {
  mkdirSync(at(name));
  writeFileSync(at(name, "adapter_config.json"), JSON.stringify(config));
  writeFileSync(at(name, "adapter_model.safetensors"), writeSafetensors(tensors));
}

test("the output has the base's files, changed weights and a card; code does not travel along", async () => {
  const result = await foldModel(at("base"), [at("adapter")], at("out"));
  expect(readdirSync(at("out")).sort()).toEqual(["README.md", "config.json", "model.safetensors", "tokenizer.json"]);
  expect(result.changed).toHaveLength(4);
  expect(readFileSync(at("out", "config.json"), "utf8")).toBe(JSON.stringify(smallConfig));
  const card = readFileSync(at("out", "README.md"), "utf8");
  expect(card).toContain("base_model: base");
  expect(card).toMatch(/different licences/);
  expect(card).toMatch(/@loomweight\/adapters \d/);
  expect(card).not.toContain(folder);
});

test("an existing output is refused and kept; force replaces it", async () => {
  mkdirSync(at("out"));
  writeFileSync(at("out", "mine.txt"), "mine");
  await expect(foldModel(at("base"), [at("adapter")], at("out"))).rejects.toThrow(
    expect.objectContaining({ code: "OUTPUT_EXISTS" }),
  );
  expect(readdirSync(at("out"))).toEqual(["mine.txt"]);
  await foldModel(at("base"), [at("adapter")], at("out"), { force: true });
  expect(readdirSync(at("out"))).toContain("model.safetensors");
});

test("when folding fails or is stopped, nothing is left behind", async () => {
  const broken = smallAdapter();
  broken.tensors.set(
    "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight",
    float32(new Array(8).fill(Number.POSITIVE_INFINITY), [2, 4]),
  );
  writeAdapterFolder("broken", broken);
  await expect(foldModel(at("base"), [at("broken")], at("out"))).rejects.toThrow(/layers\.1\.mlp\.up_proj\.lora_A/);
  const stop = new AbortController();
  const stopped = foldModel(at("base"), [at("adapter")], at("out"), {
    tileBytes: 16,
    signal: stop.signal,
    onProgress: ({ bytesDone }) => {
      if (bytesDone > 64) stop.abort(new Error("enough"));
    },
  });
  await expect(stopped).rejects.toThrow("enough");
  await foldModel(at("base"), [at("adapter")], at("out"), { force: true }); // what it kept goes
  expect(readdirSync(folder).sort()).toEqual(["adapter", "base", "broken", "out"]);
});

test("the size of tiles and shards does not change a byte of the weights", async () => {
  await foldModel(at("base"), [at("adapter")], at("whole"));
  await foldModel(at("base"), [at("adapter")], at("tiled"), { tileBytes: 16 });
  await foldModel(at("base"), [at("adapter")], at("sharded"), { maxShardBytes: 200 });
  expect(readFileSync(at("tiled", "model.safetensors")).equals(readFileSync(at("whole", "model.safetensors")))).toBe(
    true,
  );
  const [whole, sharded] = [await openCheckpoint(at("whole")), await openCheckpoint(at("sharded"))];
  expect(readdirSync(at("sharded"))).toContain("model.safetensors.index.json");
  for (const name of whole.tensors.keys()) expect(await sharded.read(name)).toEqual(await whole.read(name));
  await Promise.all([whole.close(), sharded.close()]);
});

test("another dtype is written into config.json; progress ends at the total", async () => {
  let last = { bytesDone: 0, bytesTotal: -1 };
  const result = await foldModel(at("base"), [at("adapter")], at("out"), {
    dtype: "bfloat16",
    onProgress: (now) => {
      last = now;
    },
  });
  expect(last.bytesDone).toBe(last.bytesTotal);
  expect(result.bytes).toBe(last.bytesTotal);
  expect(JSON.parse(readFileSync(at("out", "config.json"), "utf8"))).toEqual({
    ...smallConfig,
    torch_dtype: "bfloat16",
  });
  const out = await openCheckpoint(at("out"));
  expect([...out.tensors.values()].every(({ dtype }) => dtype === "bfloat16")).toBe(true);
  await out.close();
});

test("MiSS in every mode folds the same whatever the tiles", async () => {
  const block = (name: string, shape: number[]) =>
    new Map([[`base_model.model.model.layers.0.mlp.up_proj.${name}`, weights(name, shape)]]);
  const modes = [
    ["true", { peft_type: "MISS", r: 3, init_weights: true }, block("miss_block", [3, 6])],
    ["mini", { peft_type: "MISS", r: 3, init_weights: "mini", mini_r: 2 }, block("miss_block", [3, 2])],
    ["bat", { peft_type: "MISS", r: 2, init_weights: "bat" }, block("miss_block", [3, 2, 2])],
    ["bone", { peft_type: "BONE", r: 2, init_weights: "bat" }, block("bone_block", [3, 2, 2])],
  ] as const;
  for (const [name, config, tensors] of modes) {
    writeAdapterFolder(name, { config: { ...config, target_modules: ["up_proj"] }, tensors });
    const result = await foldModel(at("base"), [at(name)], at(`${name}-whole`));
    expect(result.changed).toEqual(["model.layers.0.mlp.up_proj.weight"]);
    await foldModel(at("base"), [at(name)], at(`${name}-tiled`), { tileBytes: 1 });
    expect(
      readFileSync(at(`${name}-tiled`, "model.safetensors")).equals(
        readFileSync(at(`${name}-whole`, "model.safetensors")),
      ),
    ).toBe(true);
  }
});

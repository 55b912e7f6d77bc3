import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "@loomweight/checkpoint";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import type { Tensor } from "@loomweight/tensor";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { castAll, valuesOf } from "../../test/memory.ts";
import { smallAdapter, smallConfig, smallModel, weights } from "../../test/small.ts";
import { foldModel } from "./fold-model.ts";
import { unfoldModel } from "./unfold-model.ts";

let folder = "";
const at = (...names: string[]) => join(folder, ...names);
const bytesOf = (name: string) => readFileSync(at(name, "model.safetensors"));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-unfold-"));
  writeModel("base", smallModel());
  writeAdapter("adapter", smallAdapter().config, smallAdapter().tensors);
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function writeModel(name: string, tensors: ReadonlyMap<string, Tensor>, config: object = smallConfig): void {
  mkdirSync(at(name));
  writeFileSync(at(name, "model.safetensors"), writeSafetensors(tensors, { metadata: { format: "pt" } }));
  writeFileSync(at(name, "config.json"), JSON.stringify(config));
}

function writeAdapter(name: string, config: object, tensors: ReadonlyMap<string, Tensor>): void {
  mkdirSync(at(name));
  writeFileSync(at(name, "adapter_config.json"), JSON.stringify(config));
  writeFileSync(at(name, "adapter_model.safetensors"), writeSafetensors(tensors));
}

/** Largest |unfolded − base| over half a unit of both: at most 1 where arithmetic is right. */
async function worstInUnits(out: string, base: string, folded: string, bits: number): Promise<number> {
  const [a, b, c] = await Promise.all([out, base, folded].map((name) => openCheckpoint(at(name))));
  let worst = 0;
  for (const name of b.tensors.keys()) {
    const [x, y, z] = await Promise.all([a, b, c].map(async (each) => valuesOf(await each.read(name))));
    const half = (value: number) => 2 ** (Math.floor(Math.log2(Math.abs(value) || 2 ** -126)) - bits - 1);
    x.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - y[i]) / (half(z[i]) + Math.max(half(value), half(y[i]))));
    });
  }
  await Promise.all([a, b, c].map((each) => each.close()));
  return worst;
}

describe("without a base", () => {
  for (const [dtype, bits] of [
    ["float32", 23],
    ["bfloat16", 7],
    ["float16", 10],
  ] as const) {
    test(`${dtype} weights come back up to two roundings, and it says so`, async () => {
      writeModel("stored", castAll(smallModel(), dtype));
      await foldModel(at("stored"), [at("adapter")], at("folded"));
      const result = await unfoldModel(at("folded"), [at("adapter")], at("out"));
      expect(result.from).toBe("arithmetic");
      expect(result.changed).toHaveLength(4);
      expect(result.warnings.join()).toMatch(
        new RegExp(`not to the base's exact bytes.*${dtype}: 2\\^-${bits + 1}\\)`),
      );
      const worst = await worstInUnits("out", "stored", "folded", bits);
      expect(worst).toBeGreaterThan(0);
      expect(worst).toBeLessThanOrEqual(1);
      expect(readFileSync(at("out", "README.md"), "utf8")).toMatch(/taken back by arithmetic/);
    });
  }

  test("several adapters are taken back in the other order", async () => {
    const scale = new Map<string, Tensor>();
    for (const layer of [0, 1]) {
      const key = `base_model.model.model.layers.${layer}.self_attn.q_proj.ia3_l`;
      scale.set(key, weights(key, [4, 1]));
    }
    writeAdapter("ia3", { peft_type: "IA3", target_modules: ["q_proj"], feedforward_modules: [] }, scale);
    await foldModel(at("base"), [at("adapter"), at("ia3")], at("folded"));
    await unfoldModel(at("folded"), [at("adapter"), at("ia3")], at("out"));
    await unfoldModel(at("folded"), [at("ia3"), at("adapter")], at("wrong"));
    const [right, wrong] = [
      await worstInUnits("out", "base", "folded", 23),
      await worstInUnits("wrong", "base", "folded", 23),
    ];
    expect(right).toBeLessThan(50); // divided by scales below one
    expect(wrong).toBeGreaterThan(1e4);
  });

  test("what folding forgot is refused by name", async () => {
    const { config, tensors } = smallAdapter();
    const magnitudes = new Map(tensors);
    for (const layer of [0, 1]) {
      for (const [name, out] of [
        ["self_attn.q_proj", 4],
        ["mlp.up_proj", 6],
      ] as const) {
        const key = `base_model.model.model.layers.${layer}.${name}.lora_magnitude_vector`;
        magnitudes.set(key, weights(key, [out]));
      }
    }
    writeAdapter("dora", { ...config, use_dora: true }, magnitudes);
    const saved = new Map(tensors).set("base_model.model.lm_head.weight", weights("head", [7, 4]));
    writeAdapter("saved", { ...config, modules_to_save: ["lm_head"] }, saved);
    writeAdapter("pissa", { ...config, init_lora_weights: "pissa" }, tensors);
    for (const [name, says] of [
      ["dora", "dora cannot be undone"],
      ["saved", "replaced this tensor whole"],
      ["pissa", "starts from the base's weight"],
    ] as const) {
      await foldModel(at("base"), [at(name)], at(`${name}-folded`));
      await expect(unfoldModel(at(`${name}-folded`), [at(name)], at("out"))).rejects.toMatchObject({
        code: "UNSUPPORTED_ADAPTER",
        message: expect.stringContaining(says),
      });
      const exact = await unfoldModel(at(`${name}-folded`), [at(name)], at(`${name}-out`), { base: at("base") });
      expect(exact.from).toBe("base");
      expect(bytesOf(`${name}-out`).equals(bytesOf("base"))).toBe(true);
    }
    expect(readdirSync(folder)).not.toContain("out");
  });
});

describe("with the base", () => {
  test("its bytes come back, also from a model that was folded into another dtype", async () => {
    for (const dtype of [undefined, "bfloat16"] as const) {
      const name = dtype ?? "same";
      await foldModel(at("base"), [at("adapter")], at(name), { dtype });
      const result = await unfoldModel(at(name), [at("adapter")], at(`${name}-out`), { base: at("base") });
      expect(result.from).toBe("base");
      expect(bytesOf(`${name}-out`).equals(bytesOf("base"))).toBe(true);
      expect(readFileSync(at(`${name}-out`, "config.json"), "utf8")).toBe(JSON.stringify(smallConfig));
    }
  });

  test("another base, another adapter and a model changed since are refused, naming the tensor", async () => {
    await foldModel(at("base"), [at("adapter")], at("folded"));
    const other = smallModel();
    other.set("model.layers.1.self_attn.q_proj.weight", weights("other", [4, 4]));
    writeModel("other", other);
    const { config, tensors } = smallAdapter();
    writeAdapter("stronger", { ...config, lora_alpha: 8 }, tensors);
    for (const [adapter, base, says] of [
      ["adapter", "other", "layers.1.self_attn.q_proj"],
      ["stronger", "base", "layers.0"],
    ]) {
      await expect(unfoldModel(at("folded"), [at(adapter)], at("out"), { base: at(base) })).rejects.toMatchObject({
        code: "NOT_FOLDED_FROM",
        message: expect.stringContaining(says),
      });
    }
  });

  test("a model that another tool folded, which rounds twice, needs allowRounding", async () => {
    writeModel("stored", castAll(smallModel(), "bfloat16"));
    await foldModel(at("stored"), [at("adapter")], at("exact"));
    const folded = new Map<string, Tensor>();
    const read = await openCheckpoint(at("exact"));
    for (const name of read.tensors.keys()) folded.set(name, await read.read(name));
    await read.close();
    const q = folded.get("model.layers.0.self_attn.q_proj.weight") as Tensor;
    (q.data as Uint16Array)[3] += 1; // one unit in the last place
    writeModel("folded", folded);
    const unfold = (allowRounding: boolean) =>
      unfoldModel(at("folded"), [at("adapter")], at("out"), { base: at("stored"), allowRounding });
    await expect(unfold(false)).rejects.toMatchObject({
      code: "NOT_FOLDED_FROM",
      message: expect.stringContaining("--allow-rounding"),
    });
    const result = await unfold(true);
    expect(result.warnings.join()).toMatch(/1 tensors? .*rounding alone/);
    expect(bytesOf("out").equals(bytesOf("stored"))).toBe(true);
  });
});

test("a folded model that keeps its base gives its bytes back without it", async () => {
  const tied = smallModel(["lm_head.weight"]);
  writeModel("tied", tied, { ...smallConfig, tie_word_embeddings: true });
  const { config, tensors } = smallAdapter();
  const saved = new Map(tensors).set("base_model.model.lm_head.weight", weights("head", [7, 4]));
  writeAdapter("saved", { ...config, modules_to_save: ["lm_head"] }, saved);
  const result = await foldModel(at("tied"), [at("saved")], at("folded"), { keepBase: true, dtype: "float16" });
  expect(result.files).toContain("base-weights.safetensors");
  const open = await openCheckpoint(at("folded"));
  expect([...open.tensors.values()].every(({ dtype }) => dtype === "float16")).toBe(true);
  await open.close();
  const unfolded = await unfoldModel(at("folded"), [at("saved")], at("out"));
  expect(unfolded.from).toBe("kept");
  expect(bytesOf("out").equals(bytesOf("tied"))).toBe(true);
  expect(JSON.parse(readFileSync(at("out", "config.json"), "utf8"))).toEqual({
    ...smallConfig,
    tie_word_embeddings: true,
  });
  await expect(unfoldModel(at("folded"), [at("adapter")], at("wrong"))).rejects.toMatchObject({
    code: "NOT_FOLDED_FROM",
  });
});

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Checkpoint, writeSafetensors } from "@loomweight/checkpoint";
import type { Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { foldAdapters, foreignFile, readForeignAdapters } from "../src/index.ts";
import { convertAdapter, foldModel, unfoldModel } from "../src/node/index.ts";
import { castAll, memoryCheckpoint, valuesOf } from "./memory.ts";
import { float32, readAll, weights } from "./small.ts";

const q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
const out = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0";
const conv = "down_blocks.0.resnets.0.conv1";
const proj = "down_blocks.0.attentions.0.proj_in";
const text = "text_model.encoder.layers.0.self_attn.q_proj";
const flat = (path: string) => path.replaceAll(".", "_");

/** A UNet's few layers, named as diffusers does: linear [4, 6], [12, 8], convolutions [4, 6, 3, 3] and [4, 6, 1, 1]. */
const unet = () =>
  new Map<string, Tensor>([
    [`${q}.weight`, weights("q", [4, 6])],
    [`${out}.weight`, weights("out", [12, 8])],
    [`${conv}.weight`, weights("conv", [4, 6, 3, 3])],
    [`${proj}.weight`, weights("proj", [4, 6, 1, 1])],
    ["conv_in.weight", weights("in", [4, 4, 3, 3])],
  ]);
const textEncoder = () => new Map<string, Tensor>([[`${text}.weight`, weights("t", [6, 6])]]);
const scalar = (value: number) => float32([value], []);

async function fold(
  base: ReadonlyMap<string, Tensor>,
  file: ReadonlyMap<string, Tensor>,
  metadata?: Record<string, string>,
): Promise<{ folded: Map<string, Tensor>; warnings: readonly string[]; checkpoint: Checkpoint }> {
  const checkpoint = await memoryCheckpoint(base, "base.safetensors");
  const opened = await memoryCheckpoint(file, "lora.safetensors");
  const { adapters, warnings } = await readForeignAdapters(
    metadata === undefined ? opened : { ...opened, metadata },
    checkpoint,
  );
  const folded = await readAll(foldAdapters({ checkpoint }, adapters).checkpoint);
  return { folded, warnings, checkpoint };
}

/** Compares a folded weight with base + update(out, in, kernel position). */
function expectUpdate(
  folded: ReadonlyMap<string, Tensor>,
  base: ReadonlyMap<string, Tensor>,
  name: string,
  update: (o: number, i: number, k: number) => number,
): void {
  const [before, after] = [base.get(name) as Tensor, folded.get(name) as Tensor];
  const [outputs, inputs] = before.shape;
  const [w, v] = [valuesOf(before), valuesOf(after)];
  const kernel = w.length / outputs / inputs;
  let largest = 0;
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      for (let k = 0; k < kernel; k++) {
        const at = (o * inputs + i) * kernel + k;
        const change = update(o, i, k);
        largest = Math.max(largest, Math.abs(change));
        expect(v[at], `${name} [${o}, ${i}, ${k}]`).toBeCloseTo(w[at] + change, 5);
      }
    }
  }
  expect(largest).toBeGreaterThan(0.05);
}

describe("kohya's files", () => {
  test("LoRA with alphas and ranks of their own, the text encoder's part left out of the UNet", async () => {
    const file = new Map<string, Tensor>();
    for (const [path, [o, i], rank] of [
      [q, [4, 6], 2],
      [out, [12, 8], 3],
    ] as const) {
      file.set(`lora_unet_${flat(path)}.lora_down.weight`, weights(`${path}A`, [rank, i]));
      file.set(`lora_unet_${flat(path)}.lora_up.weight`, weights(`${path}B`, [o, rank]));
    }
    file.set(`lora_unet_${flat(q)}.alpha`, scalar(4)); // scale 2; the other one has none: scale 1
    file.set(`lora_te_${flat(text)}.lora_down.weight`, weights("tA", [2, 6]));
    file.set(`lora_te_${flat(text)}.lora_up.weight`, weights("tB", [6, 2]));
    const { folded, warnings } = await fold(unet(), file);
    for (const [path, rank, scale] of [
      [q, 2, 2],
      [out, 3, 1],
    ] as const) {
      const A = file.get(`lora_unet_${flat(path)}.lora_down.weight`) as Tensor;
      const B = file.get(`lora_unet_${flat(path)}.lora_up.weight`) as Tensor;
      const [a, b] = [valuesOf(A), valuesOf(B)];
      expectUpdate(folded, unet(), `${path}.weight`, (o, i) => {
        let sum = 0;
        for (let r = 0; r < rank; r++) sum += b[o * rank + r] * a[r * A.shape[1] + i];
        return scale * sum;
      });
    }
    expect(folded.get(`${conv}.weight`)).toEqual(unet().get(`${conv}.weight`));
    expect(warnings.join()).toMatch(/1 modules of "lora_te" .* left out/);
    const encoder = await fold(textEncoder(), file);
    expect(encoder.folded.get(`${text}.weight`)).not.toEqual(textEncoder().get(`${text}.weight`));
    expect(encoder.warnings.join()).toMatch(/2 modules of "lora_unet"/);
  });

  test("LoCon: convolutions, 1×1 ones of linear factors, and a middle factor", async () => {
    const [name, small] = [`lora_unet_${flat(conv)}`, `lora_unet_${flat(proj)}`];
    const file = new Map<string, Tensor>([
      [`${name}.lora_down.weight`, weights("down", [2, 6, 1, 1])],
      [`${name}.lora_mid.weight`, weights("mid", [2, 2, 3, 3])],
      [`${name}.lora_up.weight`, weights("up", [4, 2, 1, 1])],
      [`${name}.alpha`, scalar(1)],
      [`${small}.lora_down.weight`, weights("d1", [2, 6])],
      [`${small}.lora_up.weight`, weights("u1", [4, 2])],
    ]);
    const { folded } = await fold(unet(), file);
    const [d, m, u] = ["down", "mid", "up"].map((part) => valuesOf(file.get(`${name}.lora_${part}.weight`) as Tensor));
    expectUpdate(folded, unet(), `${conv}.weight`, (o, i, k) => {
      let sum = 0;
      for (let p = 0; p < 2; p++)
        for (let r = 0; r < 2; r++) sum += u[o * 2 + p] * m[(p * 2 + r) * 9 + k] * d[r * 6 + i];
      return sum / 2;
    });
    const [a, b] = ["down", "up"].map((part) => valuesOf(file.get(`${small}.lora_${part}.weight`) as Tensor));
    expectUpdate(folded, unet(), `${proj}.weight`, (o, i) => b[o * 2] * a[i] + b[o * 2 + 1] * a[6 + i]);
  });

  test("dora_scale are magnitudes of outputs; those of inputs are refused", async () => {
    const name = `lora_unet_${flat(q)}`;
    const file = new Map<string, Tensor>([
      [`${name}.lora_down.weight`, weights("A", [1, 6])],
      [`${name}.lora_up.weight`, weights("B", [4, 1])],
      [`${name}.dora_scale`, float32([1, 2, 3, 4], [4, 1])],
      [`${name}.alpha`, scalar(1)],
    ]);
    const { folded } = await fold(unet(), file);
    const after = valuesOf(folded.get(`${q}.weight`) as Tensor);
    for (let o = 0; o < 4; o++) {
      const norm = Math.sqrt(after.slice(o * 6, o * 6 + 6).reduce((sum, value) => sum + value * value, 0));
      expect(norm).toBeCloseTo(o + 1, 5);
    }
    file.set(`${name}.dora_scale`, float32([1, 2, 3, 4, 5, 6], [1, 6]));
    await expect(fold(unet(), file)).rejects.toMatchObject({
      code: "UNSUPPORTED_ADAPTER",
      message: expect.stringContaining("magnitudes are those of inputs"),
    });
  });

  test("LoHa and LoKr of LyCORIS, each alpha its own", async () => {
    const [hada, lokr] = [`lora_unet_${flat(q)}`, `lora_unet_${flat(out)}`];
    const file = new Map<string, Tensor>([
      [`${hada}.hada_w1_a`, weights("1a", [4, 2])],
      [`${hada}.hada_w1_b`, weights("1b", [2, 6])],
      [`${hada}.hada_w2_a`, weights("2a", [4, 2])],
      [`${hada}.hada_w2_b`, weights("2b", [2, 6])],
      [`${hada}.alpha`, scalar(1)],
      [`${lokr}.lokr_w1`, weights("k1", [2, 2])],
      [`${lokr}.lokr_w2_a`, weights("k2a", [6, 2])],
      [`${lokr}.lokr_w2_b`, weights("k2b", [2, 4])],
      [`${lokr}.alpha`, scalar(3)],
    ]);
    const { folded } = await fold(unet(), file);
    const values = (name: string) => valuesOf(file.get(name) as Tensor);
    const [a1, b1, a2, b2] = ["w1_a", "w1_b", "w2_a", "w2_b"].map((part) => values(`${hada}.hada_${part}`));
    const product = (a: Float64Array, b: Float64Array, o: number, i: number) =>
      a[o * 2] * b[i] + a[o * 2 + 1] * b[6 + i];
    expectUpdate(folded, unet(), `${q}.weight`, (o, i) => 0.5 * product(a1, b1, o, i) * product(a2, b2, o, i));
    const [k1, ka, kb] = ["w1", "w2_a", "w2_b"].map((part) => values(`${lokr}.lokr_${part}`));
    expectUpdate(
      folded,
      unet(),
      `${out}.weight`,
      (o, i) =>
        1.5 *
        k1[Math.floor(o / 6) * 2 + Math.floor(i / 4)] *
        (ka[(o % 6) * 2] * kb[i % 4] + ka[(o % 6) * 2 + 1] * kb[4 + (i % 4)]),
    );
  });

  test("names of the original UNet are found in diffusers', and the other way round", async () => {
    const ldm = "input_blocks.1.1.transformer_blocks.0.attn1.to_q";
    const file = new Map<string, Tensor>();
    for (const [path, shape] of [
      [ldm, [4, 6]],
      ["input_blocks.1.0.in_layers.2", [4, 6]],
    ] as const) {
      const kernel = path === ldm ? [] : [3, 3];
      file.set(`lora_unet_${flat(path)}.lora_down.weight`, weights(`${path}A`, [1, shape[1], ...kernel]));
      file.set(`lora_unet_${flat(path)}.lora_up.weight`, weights(`${path}B`, [shape[0], 1, ...kernel.map(() => 1)]));
    }
    const { folded } = await fold(unet(), file);
    expect(folded.get(`${q}.weight`)).not.toEqual(unet().get(`${q}.weight`));
    expect(folded.get(`${conv}.weight`)).not.toEqual(unet().get(`${conv}.weight`));
    const single = new Map<string, Tensor>([
      [`model.diffusion_model.${ldm}.weight`, weights("q", [4, 6])],
      ["model.diffusion_model.input_blocks.1.0.in_layers.2.weight", weights("conv", [4, 6, 3, 3])],
      [`cond_stage_model.transformer.${text}.weight`, weights("t", [6, 6])],
    ]);
    const original = new Map<string, Tensor>([
      [`lora_unet_${flat(q)}.lora_down.weight`, weights(`${ldm}A`, [1, 6])],
      [`lora_unet_${flat(q)}.lora_up.weight`, weights(`${ldm}B`, [4, 1])],
      [`lora_te_${flat(text)}.lora_down.weight`, weights("tA", [2, 6])],
      [`lora_te_${flat(text)}.lora_up.weight`, weights("tB", [6, 2])],
    ]);
    const both = await fold(single, original);
    expect(both.warnings).toEqual([]);
    expect(both.folded.get(`model.diffusion_model.${ldm}.weight`)).toEqual(folded.get(`${q}.weight`));
    expect(both.folded.get(`cond_stage_model.transformer.${text}.weight`)).not.toEqual(weights("t", [6, 6]));
  });
});

describe("diffusers' files", () => {
  const factors = (a: string, b: string) =>
    new Map<string, Tensor>([
      [a, weights("A", [2, 6])],
      [b, weights("B", [4, 2])],
    ]);
  const update = (scale: number) => {
    const [a, b] = [valuesOf(weights("A", [2, 6])), valuesOf(weights("B", [4, 2]))];
    return (o: number, i: number) => scale * (b[o * 2] * a[i] + b[o * 2 + 1] * a[6 + i]);
  };

  for (const [what, a, b] of [
    ["lora_A and lora_B", `unet.${q}.lora_A.weight`, `unet.${q}.lora_B.weight`],
    ["lora.down and lora.up", `unet.${q}.lora.down.weight`, `unet.${q}.lora.up.weight`],
    ["no component", `${q}.lora_A.weight`, `${q}.lora_B.weight`],
    [
      "attention processors",
      `unet.${q.replace("to_q", "processor.to_q_lora.down.weight")}`,
      `unet.${q.replace("to_q", "processor.to_q_lora.up.weight")}`,
    ],
  ]) {
    test(`${what}: scale 1`, async () => {
      const { folded } = await fold(unet(), factors(a, b));
      expectUpdate(folded, unet(), `${q}.weight`, update(1));
    });
  }

  test("the scaling in the metadata counts; text encoders' linear layers are read", async () => {
    const metadata = { lora_adapter_metadata: JSON.stringify({ "unet.r": 2, "unet.lora_alpha": 4 }) };
    const { folded } = await fold(unet(), factors(`unet.${q}.lora_A.weight`, `unet.${q}.lora_B.weight`), metadata);
    expectUpdate(folded, unet(), `${q}.weight`, update(2));
    const encoder = new Map<string, Tensor>([
      [`text_encoder.${text}.lora_linear_layer.down.weight`, weights("A", [1, 6])],
      [`text_encoder.${text}.lora_linear_layer.up.weight`, weights("B", [6, 1])],
    ]);
    const read = await fold(textEncoder(), encoder);
    expect(read.folded.get(`${text}.weight`)).not.toEqual(textEncoder().get(`${text}.weight`));
  });
});

describe("what cannot be meant is refused by name", () => {
  const name = `lora_unet_${flat(q)}`;
  const good = () =>
    new Map<string, Tensor>([
      [`${name}.lora_down.weight`, weights("A", [2, 6])],
      [`${name}.lora_up.weight`, weights("B", [4, 2])],
      [`${name}.alpha`, scalar(2)],
    ]);
  for (const [what, change, code, says] of [
    ["a factor that is missing", { remove: `${name}.lora_up.weight` }, "MISSING_TENSOR", "lora_B"],
    ["an alpha without factors", { add: ["lora_unet_x.alpha", []] }, "MISSING_TENSOR", "no factors"],
    ["a key of another form", { add: ["lora_unet_x.lora_sideways.weight", [1]] }, "UNEXPECTED_TENSOR", "sideways"],
    ["whole differences", { add: ["lora_unet_x.diff", [4, 6]] }, "UNEXPECTED_TENSOR", "whole differences"],
    ["two types in one module", { add: [`${name}.hada_w1_a`, [4, 2]] }, "UNEXPECTED_TENSOR", "loha"],
    ["an alpha of two numbers", { add: [`${name}.alpha`, [2]] }, "SHAPE_MISMATCH", "one number"],
    [
      "a module the base lacks",
      { add: ["lora_unet_mid_block_x.lora_down.weight", [1, 2]] },
      "UNKNOWN_TENSOR",
      "mid_block_x",
    ],
    ["another base", { base: textEncoder() }, "UNKNOWN_TENSOR", "another part of the pipeline"],
    ["a base of another size", { base: new Map([[`${q}.weight`, weights("q", [5, 6])]]) }, "SHAPE_MISMATCH", "base"],
    [
      "a name that stands for two modules",
      {
        base: new Map([
          [`${q}.weight`, weights("q", [4, 6])],
          [`${q.replace("attn1.to_q", "attn1.to.q")}.weight`, weights("q", [4, 6])],
        ]),
      },
      "AMBIGUOUS_ADAPTER",
      "do not tell",
    ],
  ] as const) {
    test(what, async () => {
      const { remove, add, base } = { ...change } as {
        remove?: string;
        add?: [string, number[]];
        base?: Map<string, Tensor>;
      };
      const file = good();
      if (remove !== undefined) file.delete(remove);
      if (add !== undefined) file.set(add[0], weights(add[0], add[1]));
      const error = await fold(base ?? unet(), file).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code, message: expect.stringContaining(says) });
    });
  }

  test("kohya's names without a base", async () => {
    const file = await memoryCheckpoint(good(), "lora.safetensors");
    await expect(readForeignAdapters(file, undefined)).rejects.toMatchObject({
      code: "MISSING_OPTION",
      message: expect.stringContaining("base"),
    });
  });
});

describe("files on disk", () => {
  let folder = "";
  const at = (...names: string[]) => join(folder, ...names);
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "loomweight-foreign-"));
    mkdirSync(at("unet"));
    writeFileSync(at("unet", "model.safetensors"), writeSafetensors(unet()));
    writeFileSync(at("unet", "config.json"), "{}");
    writeFileSync(
      at("kohya.safetensors"),
      writeSafetensors(
        new Map([
          [`lora_unet_${flat(q)}.lora_down.weight`, weights("A", [2, 6])],
          [`lora_unet_${flat(q)}.lora_up.weight`, weights("B", [4, 2])],
          [`lora_unet_${flat(q)}.alpha`, scalar(4)],
          [`lora_unet_${flat(conv)}.lora_down.weight`, weights("cA", [3, 6, 3, 3])],
          [`lora_unet_${flat(conv)}.lora_up.weight`, weights("cB", [4, 3, 1, 1])],
          [`lora_unet_${flat(conv)}.alpha`, scalar(1)],
        ]),
      ),
    );
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const bytes = (name: string, file = "model.safetensors") => readFileSync(at(name, file));

  test("fold and unfold take them; a PEFT folder made of one folds to the same bytes, and goes back to it", async () => {
    const { changed } = await foldModel(at("unet"), [at("kohya.safetensors")], at("folded"));
    expect(changed).toEqual([`${q}.weight`, `${conv}.weight`].sort());
    const unfolded = await unfoldModel(at("folded"), [at("kohya.safetensors")], at("again"), { base: at("unet") });
    expect(unfolded.from).toBe("base");
    expect(bytes("again").equals(bytes("unet"))).toBe(true);

    await convertAdapter(at("kohya.safetensors"), at("peft"), { to: "peft", base: at("unet") });
    const config = JSON.parse(readFileSync(at("peft", "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ peft_type: "LORA", r: 2, lora_alpha: 4 });
    expect(config.rank_pattern).toEqual({ [conv]: 3 });
    expect(config.alpha_pattern).toEqual({ [conv]: 1 });
    await foldModel(at("unet"), [at("peft")], at("folded-peft"));
    expect(bytes("folded-peft").equals(bytes("folded"))).toBe(true);

    await convertAdapter(at("peft"), at("kohya-again"), { to: "kohya" });
    expect(readdirSync(at("kohya-again"))).toEqual(["pytorch_lora_weights.safetensors"]);
    await foldModel(at("unet"), [at("kohya-again")], at("folded-kohya"));
    expect(bytes("folded-kohya").equals(bytes("folded"))).toBe(true);
    expect(bytes("kohya-again", "pytorch_lora_weights.safetensors").length).toBeGreaterThan(0);

    await convertAdapter(at("peft"), at("diffusers"), { to: "diffusers", component: "unet" });
    await foldModel(at("unet"), [at("diffusers")], at("folded-diffusers"));
    const [a, b] = await Promise.all(
      ["folded", "folded-diffusers"].map(async (name) => readAll(await memoryOf(at(name, "model.safetensors")))),
    );
    for (const [name, tensor] of a) {
      const other = valuesOf(b.get(name) as Tensor);
      valuesOf(tensor).forEach((value, i) => {
        expect(Math.abs(value - other[i])).toBeLessThan(3e-7);
      });
    }
  });

  test("several components need to be told apart, unless the base does", async () => {
    const two = new Map<string, Tensor>([
      [`unet.${q}.lora_A.weight`, weights("A", [2, 6])],
      [`unet.${q}.lora_B.weight`, weights("B", [4, 2])],
      [`text_encoder.${text}.lora_A.weight`, weights("A", [2, 6])],
      [`text_encoder.${text}.lora_B.weight`, weights("B", [6, 2])],
    ]);
    writeFileSync(at("two.safetensors"), writeSafetensors(two));
    await expect(convertAdapter(at("two.safetensors"), at("none"), { to: "peft" })).rejects.toMatchObject({
      code: "AMBIGUOUS_ADAPTER",
      message: expect.stringContaining("text_encoder"),
    });
    const named = await convertAdapter(at("two.safetensors"), at("te"), { to: "peft", component: "text_encoder" });
    expect(named).toMatchObject({ method: "lora", modules: 1 });
    const based = await convertAdapter(at("two.safetensors"), at("unet-peft"), { to: "peft", base: at("unet") });
    expect(based.warnings.join()).toMatch(/"text_encoder" .* left out/);
  });

  async function memoryOf(path: string): Promise<Checkpoint> {
    const { openCheckpoint } = await import("@loomweight/checkpoint/node");
    return openCheckpoint(path);
  }
});

test("what a layout has no place for is refused: IA3, and LoHa in diffusers' names", async () => {
  const base = await memoryCheckpoint(unet(), "base.safetensors");
  const file = await memoryCheckpoint(
    castAll(
      new Map<string, Tensor>([
        [`lora_unet_${flat(q)}.hada_w1_a`, weights("1a", [4, 2])],
        [`lora_unet_${flat(q)}.hada_w1_b`, weights("1b", [2, 6])],
        [`lora_unet_${flat(q)}.hada_w2_a`, weights("2a", [4, 2])],
        [`lora_unet_${flat(q)}.hada_w2_b`, weights("2b", [2, 6])],
      ]),
      "bfloat16",
    ),
    "loha.safetensors",
  );
  const [adapter] = (await readForeignAdapters(file, base)).adapters;
  await expect(foreignFile(adapter, { layout: "diffusers" })).rejects.toMatchObject({ code: "UNSUPPORTED_ADAPTER" });
  const again = await memoryCheckpoint(new Map(), "none").then(() => foreignFile(adapter, { layout: "kohya" }));
  expect(again.length).toBeGreaterThan(100);
});

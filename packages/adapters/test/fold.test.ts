import type { Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { valuesOf } from "./memory.ts";
import { adapterFolder, float32, foldSmall, readAll, smallAdapter, smallModel, weights } from "./small.ts";

const q0 = "model.layers.0.self_attn.q_proj.weight";
const folder = (config: Record<string, unknown> = {}, change?: (tensors: Map<string, Tensor>) => void) => {
  const small = smallAdapter();
  change?.(small.tensors);
  return adapterFolder({ ...small.config, ...config }, small.tensors);
};
/** alpha / rank · B A of an adapter's module, in float64. */
function update(tensors: ReadonlyMap<string, Tensor>, prefix: string, scale: number): Float64Array {
  const [a, b] = [tensors.get(`${prefix}.lora_A.weight`) as Tensor, tensors.get(`${prefix}.lora_B.weight`) as Tensor];
  const [rank, columns] = a.shape;
  const [x, y] = [valuesOf(a), valuesOf(b)];
  return Float64Array.from({ length: b.shape[0] * columns }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += y[Math.floor(at / columns) * rank + k] * x[k * columns + (at % columns)];
    return scale * sum;
  });
}

test("only adapted tensors change, and by the update rounded once", async () => {
  const [base, { tensors }] = [smallModel(), smallAdapter()];
  const folded = await readAll(await foldSmall(base, [folder()]));
  expect([...folded.keys()]).toEqual([...(await readAll(await foldSmall(base, [folder()]))).keys()]);
  for (const [name, before] of base) {
    const prefix = `base_model.model.${name.slice(0, -".weight".length)}`;
    const after = folded.get(name) as Tensor<"float32">;
    if (!tensors.has(`${prefix}.lora_A.weight`)) {
      expect(after).toEqual(before);
      continue;
    }
    const delta = update(tensors, prefix, 2);
    const exact = valuesOf(before).map((value, i) => value + delta[i]);
    expect([...after.data]).toEqual([...Float32Array.from(exact)]);
  }
});

test("any byte range gives the bytes of the whole", async () => {
  for (const config of [{}, { use_dora: true }]) {
    const small = smallAdapter();
    if (config.use_dora) {
      for (const key of [...small.tensors.keys()]) {
        if (!key.endsWith("lora_B.weight")) continue;
        const rows = (small.tensors.get(key) as Tensor).shape[0];
        small.tensors.set(key.replace("lora_B.weight", "lora_magnitude_vector"), weights(`${key}m`, [rows]));
      }
    }
    const folded = await foldSmall(smallModel(), [adapterFolder({ ...small.config, ...config }, small.tensors)], {
      dtype: "bfloat16",
    });
    for (const name of [q0, "model.layers.1.mlp.up_proj.weight", "model.norm.weight"]) {
      const whole = await folded.readBytes(name);
      await fc.assert(
        fc.asyncProperty(fc.nat(whole.length), fc.nat(whole.length), async (a, b) => {
          const [start, end] = [Math.min(a, b), Math.max(a, b)];
          expect(await folded.readBytes(name, { start, end })).toEqual(whole.slice(start, end));
        }),
        { numRuns: 40 },
      );
    }
    await expect(folded.readBytes(q0, { start: 4, end: 2 })).rejects.toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
    await expect(folded.readBytes("model.nrm.weight")).rejects.toThrow(/model\.norm\.weight/);
  }
});

test("adapters fold in the given order and add up", async () => {
  const twice = await readAll(await foldSmall(smallModel(), [folder(), folder()]));
  const doubled = await readAll(await foldSmall(smallModel(), [folder({ lora_alpha: 8 })]));
  const [a, b] = [valuesOf(twice.get(q0) as Tensor), valuesOf(doubled.get(q0) as Tensor)];
  a.forEach((value, i) => {
    expect(Math.abs(value - b[i])).toBeLessThan(1e-6);
  });
});

test("dtype casts every tensor, and float64 hands out values before any rounding", async () => {
  const folded = await foldSmall(smallModel(), [folder()], { dtype: "float64" });
  for (const { dtype } of folded.tensors.values()) expect(dtype).toBe("float64");
  const exact = valuesOf(smallModel().get(q0) as Tensor).map(
    (value, i) => value + update(smallAdapter().tensors, "base_model.model.model.layers.0.self_attn.q_proj", 2)[i],
  );
  valuesOf(await folded.read(q0)).forEach((value, i) => {
    expect(Math.abs(value - exact[i])).toBeLessThan(1e-15);
  });
  expect((await foldSmall(smallModel(), [folder()], { dtype: "bfloat16" })).configChanges).toEqual({
    torch_dtype: "bfloat16",
  });
});

describe("which tensors an adapter reaches", () => {
  test("saved modules replace the base's", async () => {
    const head = weights("new head", [7, 4]);
    const folded = await foldSmall(smallModel(), [
      folder({ modules_to_save: ["lm_head"] }, (t) => t.set("base_model.model.lm_head.weight", head)),
    ]);
    expect(await folded.read("lm_head.weight")).toEqual(head);
  });

  test("a head that was saved apart from a tied embedding is added and the tie undone", async () => {
    const head = weights("new head", [7, 4]);
    const folded = await foldSmall(
      smallModel(["lm_head.weight"]),
      [folder({ modules_to_save: ["lm_head"] }, (t) => t.set("base_model.model.lm_head.weight", head))],
      {},
      { tie_word_embeddings: true, architectures: ["LlamaForCausalLM"] },
    );
    expect(await folded.read("lm_head.weight")).toEqual(head);
    expect(folded.configChanges).toEqual({ tie_word_embeddings: false });
    expect(folded.warnings.join()).toContain("tie_word_embeddings");
  });

  test("an adapter on the head of a tied model changes the embedding that serves as head, and says so", async () => {
    const base = smallModel(["lm_head.weight"]);
    const folded = await foldSmall(
      base,
      [
        folder({ target_modules: ["lm_head"] }, (t) => {
          t.clear();
          t.set("base_model.model.lm_head.lora_A.weight", weights("a", [2, 4]));
          t.set("base_model.model.lm_head.lora_B.weight", weights("b", [7, 2]));
        }),
      ],
      {},
      { tie_word_embeddings: true, architectures: ["LlamaForCausalLM"] },
    );
    expect((await folded.read("model.embed_tokens.weight")).data).not.toEqual(
      base.get("model.embed_tokens.weight")?.data,
    );
    expect(folded.warnings.join()).toContain("changes both");
  });

  test("an embedding that was saved for a tied model takes the place of both sides, and the warning says so", async () => {
    const embedding = weights("new embedding", [7, 4]);
    const folded = await foldSmall(
      smallModel(["lm_head.weight"]),
      [
        folder({ modules_to_save: ["embed_tokens"] }, (t) =>
          t.set("base_model.model.model.embed_tokens.weight", embedding),
        ),
      ],
      {},
      { tie_word_embeddings: true, architectures: ["LlamaForCausalLM"] },
    );
    expect(await folded.read("model.embed_tokens.weight")).toEqual(embedding);
    expect(folded.warnings.join()).toContain("takes the place of both");
  });

  test("the classifier that a classification task trained is added to the base", async () => {
    const score = weights("score", [3, 4]);
    const folded = await foldSmall(smallModel(), [
      folder({ task_type: "SEQ_CLS" }, (t) => t.set("base_model.model.score.weight", score)),
    ]);
    expect(await folded.read("score.weight")).toEqual(score);
    expect(folded.warnings.join()).toContain('"score.weight"');
  });

  test("a base saved from inside the trained model is found under its shorter or longer names", async () => {
    const shorter = new Map([...smallModel()].map(([name, tensor]) => [name.replace(/^model\./, ""), tensor]));
    const longer = new Map([...smallModel()].map(([name, tensor]) => [`language_model.${name}`, tensor]));
    const expected = (await readAll(await foldSmall(smallModel(), [folder()]))).get(q0);
    expect((await readAll(await foldSmall(shorter, [folder()]))).get("layers.0.self_attn.q_proj.weight")).toEqual(
      expected,
    );
    expect((await readAll(await foldSmall(longer, [folder()]))).get(`language_model.${q0}`)).toEqual(expected);
  });

  test("selected modules without tensors stay as they are and are counted", async () => {
    const folded = await foldSmall(smallModel(), [
      folder({}, (t) => {
        for (const key of [...t.keys()]) if (key.includes("layers.1")) t.delete(key);
      }),
    ]);
    expect(folded.warnings.join()).toMatch(/2 selected modules have no tensors/);
    expect(await folded.read("model.layers.1.self_attn.q_proj.weight")).toEqual(
      smallModel().get("model.layers.1.self_attn.q_proj.weight"),
    );
  });

  test("another base_model_name_or_path is a warning, not an error", async () => {
    const folded = await foldSmall(smallModel(), [folder({ base_model_name_or_path: "someone/else" })]);
    expect(folded.warnings.join()).toContain("someone/else");
  });

  test("unknown fields that are empty are named and ignored", async () => {
    const folded = await foldSmall(smallModel(), [folder({ new_feature_config: null })]);
    expect(folded.warnings.join()).toContain("new_feature_config");
  });

  test("patterns choose rank and alpha per module, first match first", async () => {
    const config = {
      rank_pattern: { "layers.0.*q_proj": 3 },
      alpha_pattern: { q_proj: 6, "layers\\.0\\.self_attn\\.q_proj": 100 },
    };
    const a = weights("wide a", [3, 4]);
    const b = weights("wide b", [4, 3]);
    const folded = await foldSmall(
      smallModel(),
      [
        folder(config, (t) => {
          t.set("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", a);
          t.set("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", b);
        }),
      ],
      { dtype: "float64" },
    );
    const own = new Map<string, Tensor>([
      ["x.lora_A.weight", a],
      ["x.lora_B.weight", b],
    ]);
    const delta = update(own, "x", 6 / 3);
    const w = valuesOf(smallModel().get(q0) as Tensor);
    valuesOf(await folded.read(q0)).forEach((value, i) => {
      expect(value).toBeCloseTo(w[i] + delta[i], 12);
    });
  });
});

test("an embedding with DoRA has its norms over the whole vocabulary, however it is cut into tiles", async () => {
  const [vocabulary, width] = [40_000, 24]; // several tiles
  const base = new Map<string, Tensor>([["emb.weight", weights("e", [vocabulary, width])]]);
  const magnitude = Float32Array.from({ length: width }, (_, i) => 1 + i);
  const tensors = new Map<string, Tensor>([
    ["base_model.model.emb.lora_embedding_A", weights("a", [2, vocabulary])],
    ["base_model.model.emb.lora_embedding_B", weights("b", [width, 2])],
    ["base_model.model.emb.lora_magnitude_vector", float32([...magnitude], [width])],
  ]);
  const config = { peft_type: "LORA", r: 2, lora_alpha: 4, use_dora: true, target_modules: ["emb"] };
  const folded = await foldSmall(base, [adapterFolder(config, tensors)], { dtype: "float64" }, {});
  const values = valuesOf(await folded.read("emb.weight"));
  for (let column = 0; column < width; column++) {
    let squares = 0;
    for (let row = 0; row < vocabulary; row++) squares += values[row * width + column] ** 2;
    expect(Math.sqrt(squares)).toBeCloseTo(magnitude[column], 9);
  }
  const slice = await folded.read("emb.weight", { range: { start: 12_345 * width, end: 12_347 * width } });
  expect(valuesOf(slice)).toEqual(values.slice(12_345 * width, 12_347 * width));
});

test("a row computed alone has the very bits that it has in the whole, before any rounding", async () => {
  for (const [out, width, rank] of [
    [37, 53, 5],
    [129, 64, 16],
    [20, 300, 33],
  ]) {
    const base = new Map<string, Tensor>([["m.proj.weight", weights("w", [out, width])]]);
    for (const use_dora of [false, true]) {
      const tensors = new Map<string, Tensor>([
        ["base_model.model.m.proj.lora_A.weight", weights("a", [rank, width])],
        ["base_model.model.m.proj.lora_B.weight", weights("b", [out, rank])],
      ]);
      if (use_dora) tensors.set("base_model.model.m.proj.lora_magnitude_vector", weights("m", [out]));
      const config = { peft_type: "LORA", r: rank, lora_alpha: 7, use_dora, target_modules: ["proj"] };
      const folded = await foldSmall(base, [adapterFolder(config, tensors)], { dtype: "float64" }, {});
      const whole = await folded.readBytes("m.proj.weight");
      for (let row = 0; row < out; row++) {
        const [start, end] = [row * width * 8, (row + 1) * width * 8];
        expect(
          Buffer.compare(await folded.readBytes("m.proj.weight", { start, end }), whole.subarray(start, end)),
        ).toBe(0);
      }
    }
  }
});

import type { Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type BuildModelOptions, buildModel } from "../src/index.ts";
import { columns, excess, int64, sessionOf } from "./run.ts";
import { folderOf, type TinyModel, withConfig, withShapes } from "./tiny-models.ts";

/** Two layers of 4 query and 2 key heads of 16, so that attention may turn them itself. */
const llama: TinyModel = {
  config: {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: 24,
    intermediate_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 16,
    max_position_embeddings: 64,
    vocab_size: 19,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
  },
  shapes: {
    "model.embed_tokens.weight": [19, 24],
    ...layer(0),
    ...layer(1),
    "model.norm.weight": [24],
  },
};

function layer(at: number): Record<string, readonly number[]> {
  const shapes = {
    "input_layernorm.weight": [24],
    "self_attn.q_proj.weight": [64, 24],
    "self_attn.k_proj.weight": [32, 24],
    "self_attn.v_proj.weight": [32, 24],
    "self_attn.o_proj.weight": [24, 64],
    "post_attention_layernorm.weight": [24],
    "mlp.gate_proj.weight": [32, 24],
    "mlp.up_proj.weight": [32, 24],
    "mlp.down_proj.weight": [24, 32],
  };
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [`model.layers.${at}.${name}`, shape]));
}

const inEachLayer = (shapes: Readonly<Record<string, readonly number[] | undefined>>) =>
  Object.fromEntries(
    [0, 1].flatMap((at) => Object.entries(shapes).map(([name, shape]) => [`model.layers.${at}.${name}`, shape])),
  );

const biases = { "self_attn.q_proj.bias": [64], "self_attn.k_proj.bias": [32], "self_attn.v_proj.bias": [32] };
const packedShapes = {
  "self_attn.q_proj.weight": undefined,
  "self_attn.k_proj.weight": undefined,
  "self_attn.v_proj.weight": undefined,
  "self_attn.qkv_proj.weight": [128, 24],
  "mlp.gate_proj.weight": undefined,
  "mlp.up_proj.weight": undefined,
  "mlp.gate_up_proj.weight": [64, 24],
};
/** Longer than its first 8 positions, by other angles. */
const longrope = { type: "longrope", short_factor: Array(8).fill(1), long_factor: Array(8).fill(3) };

/** Of the two layers, how many attend to packed queries, keys and values: where one row is asked for, and where any number. */
const cases: Record<string, { model: TinyModel; inside: number; anywhere: number }> = {
  llama: { model: llama, inside: 2, anywhere: 0 },
  "llama with dynamic angles": {
    model: withConfig(llama, { max_position_embeddings: 8, rope_scaling: { type: "dynamic", factor: 2 } }),
    inside: 2,
    anywhere: 0,
  },
  "qwen2, with biases": {
    model: withShapes(
      withConfig(llama, { model_type: "qwen2", architectures: ["Qwen2ForCausalLM"] }),
      inEachLayer(biases),
    ),
    inside: 2,
    anywhere: 0,
  },
  "mistral, with a sliding window": {
    model: withConfig(llama, { model_type: "mistral", architectures: ["MistralForCausalLM"], sliding_window: 4 }),
    inside: 2,
    anywhere: 0,
  },
  "smollm3, with a layer that does not turn": {
    model: withConfig(llama, {
      model_type: "smollm3",
      architectures: ["SmolLM3ForCausalLM"],
      head_dim: undefined,
      hidden_size: 64,
      no_rope_layers: [1, 0],
    }),
    inside: 2,
    anywhere: 1,
  },
  "qwen3, with normed heads": {
    model: withShapes(
      withConfig(llama, { model_type: "qwen3", architectures: ["Qwen3ForCausalLM"] }),
      inEachLayer({ "self_attn.q_norm.weight": [16], "self_attn.k_norm.weight": [16] }),
    ),
    inside: 0,
    anywhere: 0,
  },
  "phi3, packed in the checkpoint, beyond its first positions": {
    model: withShapes(
      withConfig(llama, {
        model_type: "phi3",
        architectures: ["Phi3ForCausalLM"],
        head_dim: undefined,
        hidden_size: 64,
        original_max_position_embeddings: 8,
        rope_scaling: longrope,
        pad_token_id: 0,
      }),
      inEachLayer(packedShapes),
    ),
    inside: 2,
    anywhere: 0,
  },
};

/** The model whose hidden size follows from its configuration, with weights that differ everywhere. */
async function folderWith({ config, shapes }: TinyModel) {
  const hidden = config.hidden_size as number;
  const sized = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, shape.map((size) => (size === 24 ? hidden : size))]),
  );
  return folderOf(
    { config, shapes: sized },
    { values: (name, i) => (name.includes("norm") ? 1 : 0) + 0.4 * Math.sin(i * 12.9898 + name.length * 78.233) },
  );
}

// Three rows, the second padded on the left by three, the third by six; the positions of padding say nothing.
const width = 11;
const pads = [0, 3, 6];
const ids = pads.map((_, row) => Array.from({ length: width }, (__, i) => (7 * i + 5 * row + 3) % 19));
const mask = pads.map((pad) => Array.from({ length: width }, (_, i) => (i < pad ? 0 : 1)));
const positions = pads.map((pad) => Array.from({ length: width }, (_, i) => Math.max(0, i - pad)));

/** Logits [rows, width, vocabulary] of rows read as a prompt of 5 tokens, then 3, then one at a time; and the last cache. */
async function decode(model: TinyModel, options: BuildModelOptions, rows: readonly number[]) {
  const folder = await folderWith(model);
  const built = await buildModel(folder, "text-generation", options);
  const session = await sessionOf(built.model);
  const pick = (list: readonly (readonly number[])[]) => int64(rows.map((row) => list[row]));
  const [inputs, seen, places] = [ids, mask, positions].map(pick);
  let cache: Record<string, Tensor> = {};
  for (const { name, shape } of session.inputs) {
    if (!name.startsWith("past_key_values.")) continue;
    const empty = new Float32Array(0);
    cache[name] = {
      dtype: "float32",
      data: empty,
      shape: [rows.length, Number(shape[1]), 0, Number(shape[3])],
      stride: [0, 0, 0, 1],
      offset: 0,
    };
  }
  // onnxruntime's attention takes several rows with a past one token at a time only
  const ends = rows.length === 1 ? [5, 8, 9, 10, 11] : [8, 9, 10, 11];
  const logits: Tensor[] = [];
  let from = 0;
  for (const to of ends) {
    const outputs = await session.run({
      input_ids: columns(inputs, from, to),
      attention_mask: columns(seen, 0, to),
      position_ids: columns(places, from, to),
      ...cache,
    });
    logits.push(outputs.logits);
    cache = Object.fromEntries(
      Object.keys(cache).map((name) => [name, outputs[name.replace("past_key_values", "present")]]),
    );
    from = to;
  }
  await session.close();
  return { logits, cache, ends, nodes: built.model.graph.nodes };
}

type Decoded = Awaited<ReturnType<typeof decode>>;

async function expectSame(model: TinyModel, options: BuildModelOptions, rows: readonly number[], plain: Decoded) {
  const packed = await decode(model, options, rows);
  for (const [step, logits] of packed.logits.entries()) {
    const start = step === 0 ? 0 : packed.ends[step - 1];
    const real = (row: number, column: number) => mask[rows[row]][start + column] === 1;
    const over = excess(logits, plain.logits[step], { atol: 2e-5, rtol: 2e-5, real });
    expect(over, `tokens from ${start} on`).toBeLessThanOrEqual(0);
  }
  for (const [name, present] of Object.entries(packed.cache)) {
    const byHead = ({ data, shape: [batch, heads, tokens, size] }: Tensor): Tensor => ({
      dtype: "float32",
      data: data as Float32Array,
      shape: [batch * heads, tokens, size],
      stride: [tokens * size, size, 1],
      offset: 0,
    });
    const heads = present.shape[1];
    const real = (row: number, column: number) => mask[rows[Math.floor(row / heads)]][column] === 1;
    const over = excess(byHead(present), byHead(plain.cache[name]), { atol: 2e-5, rtol: 2e-5, real });
    expect(over, name).toBeLessThanOrEqual(0);
  }
  return packed.nodes;
}

describe("packed queries, keys and values", () => {
  for (const [name, { model, inside, anywhere }] of Object.entries(cases)) {
    test(`${name}: rows padded on the left give what separate products give`, async () => {
      const plain = await decode(model, { fuse: "none" }, [0, 1, 2]);
      for (const devices of [undefined, ["cpu"]] as const) {
        const nodes = await expectSame(model, { devices }, [0, 1, 2], plain);
        const attention = nodes.filter(({ op }) => op === "GroupQueryAttention");
        expect(attention.filter(({ inputs }) => inputs[1] === "").length).toBe(anywhere);
        expect(attention.filter(({ attributes }) => attributes.do_rotary !== undefined)).toEqual([]);
        expect(nodes.filter(({ op, name: at }) => op === "MatMul" && at.endsWith("/qkv_proj/MatMul")).length).toBe(2);
        expect(nodes.filter(({ name: at }) => /[qkv]_proj/.test(at) && !at.includes("qkv_proj"))).toEqual([]);
      }
    });

    test(`${name}: so do single rows, whose heads attention turns itself on CPUs`, async () => {
      const plain = await decode(model, { fuse: "none" }, [1]);
      const nodes = await expectSame(model, { devices: ["cpu"], batchSize: 1 }, [1], plain);
      const attention = nodes.filter(({ op }) => op === "GroupQueryAttention");
      expect(attention.filter(({ inputs }) => inputs[1] === "").length).toBe(inside);
      if (inside === 2) expect(nodes.filter(({ op }) => op === "RotaryEmbedding")).toEqual([]);
      // WebGPU's attention knows no positions
      const everywhere = await buildModel(await folderWith(model), "text-generation", { batchSize: 1 });
      expect(everywhere.model.graph.nodes.filter(({ attributes }) => attributes.do_rotary !== undefined)).toEqual([]);
    });
  }

  test("a product for each stays where packing is not wanted", async () => {
    const folder = await folderWith(llama);
    for (const options of [{ packed: false }, { fuse: "none" }] as const) {
      const { model } = await buildModel(folder, "text-generation", options);
      expect([...model.graph.initializers.keys()].filter((each) => /layers\.0\.self_attn\.[qkv]/.test(each))).toEqual([
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight",
      ]);
    }
  });

  test("a single row is a number in the inputs, and other counts are refused", async () => {
    const folder = await folderWith(llama);
    const { model } = await buildModel(folder, "text-generation", { batchSize: 1 });
    expect([...new Set(model.graph.inputs.map(({ shape }) => shape?.[0]))]).toEqual([1]);
    const wrong = { batchSize: 2 } as unknown as BuildModelOptions;
    await expect(buildModel(folder, "text-generation", wrong)).rejects.toThrow(/batchSize.*1, or nothing.*2/s);
    await expect(buildModel(folder, "feature-extraction", { batchSize: 1 })).rejects.toThrow(
      /batchSize.*a single row/s,
    );
  });
});

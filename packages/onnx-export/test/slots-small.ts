import { type Adapter, foldAdapters, openAdapter } from "@loomweight/adapters";
import { fileSetFromMap, type ModelFolder, openModelFromFiles, writeSafetensors } from "@loomweight/checkpoint";
import { encodeOnnx } from "@loomweight/graph";
import { openSession, type Session } from "@loomweight/graph/node";
import { createRandom, fromData, type Tensor } from "@loomweight/tensor";
import { type AdapterSlots, type ExportOptions, planExport } from "../src/index.ts";
import { decoderFeeds, int64 } from "./exported.ts";

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 40,
  rope_theta: 10000,
  tie_word_embeddings: true,
};

export const linearShapes: Readonly<Record<string, readonly [out: number, inner: number]>> = {
  "model.layers.0.self_attn.q_proj": [32, 32],
  "model.layers.0.self_attn.k_proj": [16, 32],
  "model.layers.0.self_attn.v_proj": [16, 32],
  "model.layers.0.self_attn.o_proj": [32, 32],
  "model.layers.0.mlp.gate_proj": [64, 32],
  "model.layers.0.mlp.up_proj": [64, 32],
  "model.layers.0.mlp.down_proj": [32, 64],
};

export function values(name: string, shape: readonly number[], scale = 1): Tensor<"float32"> {
  const random = createRandom(7, name);
  const count = shape.reduce((product, size) => product * size, 1);
  return fromData(
    "float32",
    Float32Array.from({ length: count }, (_, i) => (random.uniform(i) - 0.5) * 2 * scale),
    shape,
  );
}

/** A small Llama whose weights lie on the grid of 4-bit blocks, so that quantizing them is exact. */
export async function smallLlama(): Promise<ModelFolder> {
  return openModelFromFiles(llamaFiles());
}

/** The files of its folder. */
export function llamaFiles(): Map<string, Uint8Array> {
  const tensors = new Map<string, Tensor>();
  // the embedding too: it serves as head
  for (const [path, [out, inner]] of Object.entries({ "model.embed_tokens": [40, 32], ...linearShapes })) {
    const random = createRandom(7, path);
    const data = Float32Array.from({ length: out * inner }, (_, i) => {
      const row = Math.floor(i / inner);
      // every block of 32 holds the smallest and the largest code
      const code = i % 32 === row % 31 ? 0 : i % 32 === (row % 31) + 1 ? 15 : Math.floor(random.uniform(i) * 16);
      return (code - 8) / 32;
    });
    tensors.set(`${path}.weight`, fromData("float32", data, [out, inner]));
  }
  for (const name of ["layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"]) {
    tensors.set(`model.${name}.weight`, fromData("float32", new Float32Array(32).fill(1), [32]));
  }
  const text = new TextEncoder().encode(JSON.stringify(config));
  return new Map([
    ["model.safetensors", writeSafetensors(tensors)],
    ["config.json", text],
  ]);
}

export interface SmallAdapterOptions {
  readonly rank?: number;
  readonly dora?: boolean;
  readonly targets?: readonly string[];
  readonly config?: Readonly<Record<string, unknown>>;
  /** Replaces the sizes of the layers: an adapter of another base. */
  readonly shapes?: Readonly<Record<string, readonly [out: number, inner: number]>>;
  readonly more?: ReadonlyMap<string, Tensor>;
}

/** A PEFT adapter in memory, different for each name. */
export async function smallAdapter(name: string, options: SmallAdapterOptions = {}): Promise<Adapter> {
  return openAdapter(fileSetFromMap(adapterFiles(name, options), name));
}

/** The files of its folder. */
export function adapterFiles(name: string, options: SmallAdapterOptions = {}): Map<string, Uint8Array> {
  const { rank = 4, dora = false, targets = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"] } = options;
  const tensors = new Map<string, Tensor>(options.more);
  for (const [path, [out, inner]] of Object.entries(options.shapes ?? linearShapes)) {
    if (!targets.some((target) => path.endsWith(`.${target}`))) continue;
    const prefix = `base_model.model.${path}`;
    tensors.set(`${prefix}.lora_A.weight`, values(`${name} ${path} A`, [rank, inner], 0.3));
    tensors.set(`${prefix}.lora_B.weight`, values(`${name} ${path} B`, [out, rank], 0.3));
    if (dora) {
      const magnitude = values(`${name} ${path} magnitude`, [out], 0.5).data.map((value) => value + 1.5);
      tensors.set(`${prefix}.lora_magnitude_vector`, fromData("float32", magnitude, [out]));
    }
  }
  const settings = { peft_type: "LORA", r: rank, lora_alpha: 2 * rank, target_modules: targets, use_dora: dora };
  const text = JSON.stringify({ ...settings, ...options.config });
  return new Map([
    ["adapter_config.json", new TextEncoder().encode(text)],
    ["adapter_model.safetensors", writeSafetensors(tensors)],
  ]);
}

/** The bytes of a model's only graph, and its slots. */
export async function exportedGraph(
  folder: ModelFolder,
  options: ExportOptions,
): Promise<{ bytes: Uint8Array; slots: AdapterSlots | undefined }> {
  const plan = await planExport(folder, options);
  return { bytes: await encodeOnnx(plan.graphs[0].model), slots: plan.slots };
}

/** The same model with adapters folded in. */
export function foldedFolder(folder: ModelFolder, adapters: readonly Adapter[]): ModelFolder {
  if (adapters.length === 0) return folder;
  const base = { checkpoint: folder.checkpoint, config: folder.config };
  return { ...folder, checkpoint: foldAdapters(base, adapters).checkpoint };
}

/** Logits [rows, 6, 40] of fixed prompts. */
export async function logitsOf(session: Session, rows = 2): Promise<Float32Array> {
  const ids = int64(
    Array.from({ length: rows * 6 }, (_, i) => (7 * i + 3) % 40),
    [rows, 6],
  );
  const { logits } = await session.run(decoderFeeds(session, ids));
  return logits.data as Float32Array;
}

/** Runs `use` with a session for a graph in memory. */
export async function withGraph<T>(bytes: Uint8Array, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(bytes, { threads: 1 });
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

/** Largest |a − b| relative to the largest |b|. */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} and ${b.length} values`);
  let [worst, largest] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
    largest = Math.max(largest, Math.abs(b[i]));
  }
  return worst / largest;
}

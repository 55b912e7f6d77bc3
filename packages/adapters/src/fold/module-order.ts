import { LoomweightError } from "@loomweight/tensor";

/**
 * Names of modules in the order in which the models of the transformers library build them, for names that stand side
 * by side in one module. Modules that a number tells apart come in that of the numbers.
 */
const built: readonly (readonly string[])[] = [
  ["embed_tokens", "layers", "norm", "lm_head"],
  ["wte", "wpe", "h", "ln_f", "lm_head"],
  ["self_attn", "mlp", "block_sparse_moe", "input_layernorm", "post_attention_layernorm"],
  ["q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"],
  ["gate_proj", "up_proj", "down_proj"],
  ["gate_up_proj", "down_proj"],
  ["qkv_proj", "o_proj"],
  ["o_proj", "qkv_proj"],
  ["ln_1", "attn", "ln_2", "mlp"],
  ["c_attn", "c_proj"],
  ["c_fc", "c_proj"],
  ["query", "key", "value"],
  ["embeddings", "encoder", "pooler"],
  ["attention", "intermediate", "output"],
  ["self", "output"],
];

/**
 * Orders the paths of modules as the model builds them. Throws `UNSUPPORTED_ADAPTER` naming two modules whose order is
 * not known: seeds and groups of some adapters are dealt out along it.
 */
export function inModuleOrder(paths: readonly string[], location: string): string[] {
  const split = paths.map((path) => path.split("."));
  return split
    .sort((a, b) => {
      let i = 0;
      while (i < a.length && i < b.length && a[i] === b[i]) i++;
      if (i === a.length || i === b.length) return a.length - b.length;
      const [x, y] = [a[i], b[i]];
      if (/^\d+$/.test(x) && /^\d+$/.test(y)) return Number(x) - Number(y);
      const [first, second] = [x, y].map((name) => /^(.*?)(\d+)$/.exec(name));
      if (first !== null && second !== null && first[1] === second[1]) return Number(first[2]) - Number(second[2]);
      // Whatever reads tokens comes before what follows it.
      if (isEmbedding(x) !== isEmbedding(y)) return isEmbedding(x) ? -1 : 1;
      const orders = built.filter((names) => names.includes(x) && names.includes(y));
      const signs = new Set(orders.map((names) => Math.sign(names.indexOf(x) - names.indexOf(y))));
      if (signs.size === 1) return [...signs][0];
      throw new LoomweightError({
        code: "UNSUPPORTED_ADAPTER",
        problem: `the adapter depends on the order of the model's modules, which is not known for "${x}" and "${y}"`,
        file: location,
        expected: "modules of a known architecture",
        found: `${a.join(".")}, ${b.join(".")}`,
        fix: "Save the adapter with its projections (save_projection, save_indices).",
      });
    })
    .map((parts) => parts.join("."));
}

function isEmbedding(name: string): boolean {
  return /^(emb|embed|embedding|embeddings|embed_tokens|wte|word_embeddings|tok_embeddings)$/.test(name);
}

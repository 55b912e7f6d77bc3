/** What a tensor of a module is. */
export type ParameterKind = "weight" | "bias" | "running_mean" | "running_var";

/** A place in a model: the modules from the outside in, and what is stored there. */
export interface ModulePath {
  readonly modules: readonly string[];
  readonly kind: string;
}

const kinds = new Set(["weight", "bias", "running_mean", "running_var", "gamma", "beta"]);

/** Words that exporters put between module and parameter; they name operators, not modules. */
const operatorWords =
  /^(matmul|gemm|add|mul|gather|conv|layernorm|layernormalization|onnx|initializer|transposed)(_\d+)?$/i;

/** What quantizers append to a weight's name. */
const quantizerSuffix = /_(Q[248]|DQ_Q[248]|quantized|Bnb4|scales?|zero_points?|absmax|transposed)$/;

const aliases: Readonly<Record<string, string>> = {
  embed_out: "lm_head",
  self_attn: "attn",
  qweight: "weight",
  gamma: "weight",
  beta: "bias",
};

/** Path of a checkpoint tensor or of an initializer that is named after one. */
export function pathOfName(name: string): ModulePath {
  const words = wordsOf(name.replace(quantizerSuffix, ""));
  const last = words.at(-1) ?? "";
  return kinds.has(last) || last === "weight"
    ? { modules: words.slice(0, -1), kind: last }
    : { modules: words, kind: "" };
}

/** Path of a node by its name, "/model/layers.0/self_attn/q_proj/MatMul"; undefined where it has no scope. */
export function pathOfNode(node: string, kind: string): ModulePath | undefined {
  const parts = node.split("/").filter((part) => part !== "");
  if (parts.length < 2) return undefined;
  return { modules: wordsOf(parts.slice(0, -1).join(".")), kind };
}

function wordsOf(name: string): string[] {
  const words = name.split(/[./:]+/).filter((word) => word !== "");
  const kept = words.filter((word, at) => at === 0 || at < words.length - 3 || !operatorWords.test(word));
  const plain = kept.map((word) => aliases[word] ?? word);
  // the genai builder counts the last norm as one more layer
  const norm = plain.indexOf("final_norm_layernorm");
  return norm >= 2 ? [...plain.slice(0, norm - 2), "norm", ...plain.slice(norm + 1)] : plain;
}

/**
 * How well two paths agree: the number of modules they share from the inside out, where one is the end of the other
 * and what only the longer one has holds no layer's number; 0 where they do not.
 */
export function agreement(a: ModulePath, b: ModulePath): number {
  if (a.kind !== "" && b.kind !== "" && a.kind !== b.kind) return 0;
  const [short, long] = a.modules.length <= b.modules.length ? [a.modules, b.modules] : [b.modules, a.modules];
  const extra = long.length - short.length;
  if (short.length === 0) return 0;
  if (short.some((word, at) => word !== long[extra + at])) return 0;
  if (long.slice(0, extra).some((word) => /^\d+$/.test(word))) return 0;
  return short.length;
}

const packs: readonly (readonly [RegExp, readonly (readonly string[])[]])[] = [
  [
    /^(qkv|qkv_proj|query_key_value|Wqkv|c_attn|in_proj|in_proj_weight)$/,
    [
      ["q_proj", "k_proj", "v_proj"],
      ["query", "key", "value"],
      ["q_lin", "k_lin", "v_lin"],
      ["q", "k", "v"],
    ],
  ],
  [/^(gate_up_proj|gate_up|gateup_proj)$/, [["gate_proj", "up_proj"]]],
];

/** Paths of the tensors that a packed weight is usually joined from, in order; [] for names that say nothing of it. */
export function packedPaths({ modules, kind }: ModulePath): ModulePath[][] {
  const last = modules.at(-1) ?? "";
  const found = packs.find(([pattern]) => pattern.test(last));
  if (found === undefined) return [];
  return found[1].map((parts) => parts.map((part) => ({ modules: [...modules.slice(0, -1), part], kind })));
}

/** Where a part of a packed tensor lies in it, by the part's name: from its beginning, or so many of its length from its end. */
const cuts: Readonly<Record<string, readonly [pack: string, fromEnd: number | undefined]>> = {
  gate_proj: ["gate_up_proj", undefined],
  up_proj: ["gate_up_proj", 1],
  q_proj: ["qkv_proj", undefined],
  k_proj: ["qkv_proj", 2],
  v_proj: ["qkv_proj", 1],
};

/** The packed tensor that a weight of this path may be a part of, and how many of the part's length it begins before the end. */
export function packOf({ modules, kind }: ModulePath): { path: ModulePath; fromEnd: number | undefined } | undefined {
  const last = modules.at(-1) ?? "";
  if (!Object.hasOwn(cuts, last)) return undefined;
  const [pack, fromEnd] = cuts[last];
  return { path: { modules: [...modules.slice(0, -1), pack], kind }, fromEnd };
}

const heads = /^(lm_head|embed_out|decoder|output_projection)$/;
const tables = /^(embed_tokens|wte|word_embeddings|embed_in|shared|embedding)$/;

/** Input tables and output heads, which models tie. */
export function isTableOrHead({ modules, kind }: ModulePath): boolean {
  const last = modules.at(-1) ?? "";
  return kind === "weight" && (heads.test(last) || tables.test(last));
}

/** A bias that a head of a masked language model shares with the module around it. */
export function outerBias({ modules, kind }: ModulePath): ModulePath | undefined {
  return kind === "bias" && modules.at(-1) === "decoder" ? { modules: modules.slice(0, -1), kind } : undefined;
}

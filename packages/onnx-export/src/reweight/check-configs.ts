import { LoomweightError } from "@loomweight/tensor";

type Json = Readonly<Record<string, unknown>>;

/** Fields of config.json that are built into a graph as operators, sizes or tables. */
const builtIn = [
  "model_type",
  "hidden_size",
  "n_embd",
  "d_model",
  "dim",
  "intermediate_size",
  "num_hidden_layers",
  "n_layer",
  "n_layers",
  "num_attention_heads",
  "n_head",
  "num_key_value_heads",
  "head_dim",
  "vocab_size",
  "hidden_act",
  "hidden_activation",
  "activation_function",
  "rms_norm_eps",
  "layer_norm_eps",
  "layer_norm_epsilon",
  "rope_theta",
  "rope_scaling",
  "rope_parameters",
  "rope_local_base_freq",
  "partial_rotary_factor",
  "rotary_pct",
  "sliding_window",
  "layer_types",
  "attn_logit_softcapping",
  "final_logit_softcapping",
  "query_pre_attn_scalar",
  "embedding_multiplier",
  "attention_multiplier",
  "residual_multiplier",
  "logits_scaling",
  "image_size",
  "patch_size",
];

/**
 * Throws `CONFIG_MISMATCH` where two configurations differ in a field that is built into a graph: new weights would
 * run through the old operators. A field that one of them lacks is not compared.
 */
export function checkConfigs(
  exported: { readonly config: Json | undefined; readonly from: string },
  model: { readonly config: Json | undefined; readonly from: string },
): void {
  for (const field of builtIn) {
    const [before, now] = [exported.config?.[field], model.config?.[field]];
    if (before === undefined || now === undefined || canonical(before) === canonical(now)) continue;
    throw new LoomweightError({
      code: "CONFIG_MISMATCH",
      problem: `the configurations differ in "${field}", which is built into the graph`,
      file: model.from,
      option: field,
      expected: `${canonical(before)}, as in ${exported.from}`,
      found: canonical(now),
      fix: "Only weights of the same architecture and settings fit this export: export the model anew.",
    });
  }
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "undefined";
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, each]) => `${JSON.stringify(key)}:${canonical(each)}`)}}`;
}

import { note, option, target, unsupported } from "./field.ts";
import type { ConfigField } from "./format.ts";

/** Fields that every PEFT type has. */
export const commonFields: Readonly<Record<string, ConfigField>> = {
  auto_mapping: note(null),
  base_model_name_or_path: note(null),
  inference_mode: note(true),
  peft_type: note(null),
  peft_version: note(null),
  revision: note(null),
  runtime_config: note(null),
  task_type: note(null),
};

/** Fields that say which modules a type adapts. */
export const targetFields: Readonly<Record<string, ConfigField>> = {
  bias: target("none"),
  exclude_modules: target(null),
  layers_pattern: target(null),
  layers_to_transform: target(null),
  modules_to_save: target(null),
  target_modules: target(null),
};

/** Fields of `LORA` with PEFT's defaults (PEFT 0.21). */
export const loraFields: Readonly<Record<string, ConfigField>> = {
  alora_invocation_tokens: unsupported(null, "activated LoRA (aLoRA)"),
  alpha_pattern: option({}),
  arrow_config: unsupported(null, "Arrow routing"),
  corda_config: note(null),
  ensure_weight_tying: unsupported(false, "weight tying of adapted embeddings"),
  eva_config: note(null),
  fan_in_fan_out: option(false),
  init_lora_weights: option(true),
  kasa_config: option(null),
  layer_replication: unsupported(null, "layer replication"),
  loftq_config: note({}),
  lora_alpha: option(8),
  lora_bias: option(false),
  lora_dropout: note(0, { float: true }),
  lora_ga_config: note(null),
  megatron_config: unsupported(null, "Megatron layers"),
  megatron_core: note("megatron.core"),
  monteclora_config: note(null), // changes training only
  qalora_group_size: note(16),
  r: option(8),
  rank_pattern: option({}),
  target_parameters: target(null),
  trainable_token_indices: option(null),
  use_bdlora: option(null),
  use_dora: option(false),
  use_qalora: unsupported(false, "QA-LoRA"),
  use_rslora: option(false),
  velora_config: note(null), // changes training only
};

/** Fields of `MISS` and its older name `BONE`. */
export const missFields: Readonly<Record<string, ConfigField>> = {
  init_weights: option(true),
  mini_r: option(1),
  miss_dropout: note(0, { float: true }),
  r: option(64),
};

/** Fields of `HYDRA`, a type of ours: PEFT has none. */
export const hydraFields: Readonly<Record<string, ConfigField>> = {
  branch_bias: option(true),
  hydra_dropout: option(0, { float: true }),
  init_weights: option("xavier"),
  learnable_scale: option(false),
  r_parallel: option(2),
  r_sequential: option(2),
  scale: option(1, { float: true }),
};

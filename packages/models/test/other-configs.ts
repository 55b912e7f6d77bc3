import { publishedConfigs } from "./published-configs.ts";

type Config = Readonly<Record<string, unknown>>;

const like = (name: string, changes: Config): Config => ({ ...publishedConfigs[name], ...changes });

const llama: Config = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  hidden_size: 2048,
  initializer_range: 0.02,
  intermediate_size: 5632,
  max_position_embeddings: 2048,
  model_type: "llama",
  num_attention_heads: 32,
  num_hidden_layers: 22,
  num_key_value_heads: 4,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
  use_cache: true,
  vocab_size: 32000,
};
const qwen2: Config = {
  architectures: ["Qwen2ForCausalLM"],
  hidden_act: "silu",
  hidden_size: 896,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};
const mistral: Config = { ...llama, architectures: ["MistralForCausalLM"], model_type: "mistral" };
const { attention_bias: _, pretraining_tp: __, ...mistralFields } = mistral;
const vit: Config = {
  architectures: ["ViTForImageClassification"],
  attention_probs_dropout_prob: 0.0,
  encoder_stride: 16,
  hidden_act: "gelu",
  hidden_size: 768,
  image_size: 224,
  intermediate_size: 3072,
  layer_norm_eps: 1e-12,
  model_type: "vit",
  num_attention_heads: 12,
  num_channels: 3,
  num_hidden_layers: 12,
  patch_size: 16,
  qkv_bias: true,
};
const factors = (value: number) => Array<number>(32).fill(value);
const roberta = "FacebookAI/roberta-base";
const minilm = "sentence-transformers/all-MiniLM-L6-v2";

/**
 * Configurations that lie about in the world, near those that are built: each is read as a family and a task, or refused
 * in a message that names what is in the way.
 */
export const otherConfigs: Readonly<Record<string, { config: Config; outcome: string | RegExp }>> = {
  // read
  "a Llama with linear scaling": {
    config: { ...llama, rope_scaling: { type: "linear", factor: 4 } },
    outcome: "llama text-generation",
  },
  "a Llama with yarn": {
    config: { ...llama, rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 2048 } },
    outcome: "llama text-generation",
  },
  "a Llama with longrope": {
    config: {
      ...llama,
      rope_scaling: {
        rope_type: "longrope",
        short_factor: factors(1),
        long_factor: factors(2),
        original_max_position_embeddings: 1024,
      },
    },
    outcome: "llama text-generation",
  },
  "SmolLM, a tied Llama with notes": {
    config: { ...llama, tie_word_embeddings: true, rope_interleaved: false, is_llama_config: true },
    outcome: "llama text-generation",
  },
  "a Llama trained in slices, whose sum is the same": {
    config: { ...llama, pretraining_tp: 2 },
    outcome: "llama text-generation",
  },
  "a distilled Qwen2 with use_mrope false": {
    config: { ...qwen2, use_mrope: false },
    outcome: "qwen2 text-generation",
  },
  "Qwen2 whose window counts": {
    config: { ...qwen2, use_sliding_window: true, sliding_window: 4096 },
    outcome: "qwen2 text-generation",
  },
  "Mistral without a window": {
    config: { ...mistralFields, sliding_window: null },
    outcome: "mistral text-generation",
  },
  "ViT without qkv bias": { config: { ...vit, qkv_bias: false }, outcome: "vit image-classification" },
  "ViT for features": { config: { ...vit, architectures: ["ViTModel"] }, outcome: "vit image-feature-extraction" },
  "Whisper large v3 turbo": {
    config: like("openai/whisper-tiny", {
      num_mel_bins: 128,
      decoder_layers: 4,
      encoder_layers: 32,
      d_model: 1280,
      decoder_attention_heads: 20,
      encoder_attention_heads: 20,
    }),
    outcome: "whisper automatic-speech-recognition",
  },
  // refused
  "BERT with relative positions": {
    config: like(minilm, { position_embedding_type: "relative_key" }),
    outcome: /position_embedding_type/,
  },
  "RoBERTa with cross-attention": {
    config: like(roberta, { add_cross_attention: true, is_decoder: true }),
    outcome: /is_decoder|add_cross_attention/,
  },
  "RoBERTa as a decoder": { config: like(roberta, { is_decoder: true }), outcome: /is_decoder/ },
  "a Llama that turns neighbours": { config: { ...llama, rope_interleaved: true }, outcome: /rope_interleaved/ },
  "a Llama that classifies": {
    config: { ...llama, architectures: ["LlamaForSequenceClassification"] },
    outcome: /architectures.*LlamaForCausalLM/s,
  },
  "a BitNet": { config: { ...llama, quantization_config: { quant_method: "bitnet" } }, outcome: /quantization_config/ },
  "Qwen2 with mrope": {
    config: { ...qwen2, use_mrope: true, rope_scaling: { type: "mrope", mrope_section: [16, 24, 24] } },
    outcome: /mrope/,
  },
  "a config without model_type": { config: { architectures: ["LlamaForCausalLM"] }, outcome: /model_type/ },
  ...Object.fromEntries(
    Object.entries({
      stablelm: "StableLmForCausalLM",
      falcon: "FalconForCausalLM",
      gemma3: "Gemma3ForConditionalGeneration",
      qwen2_vl: "Qwen2VLForConditionalGeneration",
      qwen2_moe: "Qwen2MoeForCausalLM",
      deepseek_v3: "DeepseekV3ForCausalLM",
      mixtral: "MixtralForCausalLM",
      opt: "OPTForCausalLM",
      bloom: "BloomForCausalLM",
      gptj: "GPTJForCausalLM",
      mamba: "MambaForCausalLM",
      llava: "LlavaForConditionalGeneration",
      "deberta-v2": "DebertaV2ForMaskedLM",
      mbart: "MBartForConditionalGeneration",
      marian: "MarianMTModel",
      dinov2_with_registers: "Dinov2WithRegistersModel",
      siglip2: "Siglip2Model",
      olmo: "OlmoForCausalLM",
      granitemoe: "GraniteMoeForCausalLM",
      "vision-encoder-decoder": "VisionEncoderDecoderModel",
    }).map(([model_type, architecture]) => [
      `${model_type}, which is not built`,
      { config: { model_type, architectures: [architecture] }, outcome: new RegExp(`"${model_type}"`) },
    ]),
  ),
};

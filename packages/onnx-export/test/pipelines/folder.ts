import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tensor } from "@loomweight/tensor";

// Recorded models have no tokenizer: they get one in which "<7>" is token 7, so that recorded ids become text and back.

export interface TokenizerChoice {
  /** Token that divides a pair of texts. */
  readonly separator?: number;
  /** Class of the tokenizer where the task needs one: "WhisperTokenizer". */
  readonly tokenizerClass?: string;
  /** Pixels reach the model as they are; else they are scaled to −1 … 1. */
  readonly rawPixels?: boolean;
}

/** Gives a folder a tokenizer of words "<0>", "<1>", …, an image processor that does not resize, and one of sound. */
export async function giveTokenizer(folder: string, maskId: number, choice: TokenizerChoice = {}): Promise<void> {
  const { separator, tokenizerClass = "PreTrainedTokenizer", rawPixels = false } = choice;
  const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
  const text = config.text_config ?? config;
  const vocabulary = Object.fromEntries(Array.from({ length: text.vocab_size ?? 1 }, (_, id) => [word(id), id]));
  const pad = text.pad_token_id ?? 0;
  const special = (id: number, content = word(id)) => ({
    id,
    content,
    special: true,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  const ids: number[] = [
    ...new Set<number>([pad, maskId, config.decoder_start_token_id ?? pad, separator ?? pad]),
  ].sort((a, b) => a - b);
  const markers = tokenizerClass === "WhisperTokenizer" ? [special(text.vocab_size, "<|notimestamps|>")] : [];
  const sequence = (id: string) => ({ Sequence: { id, type_id: 0 } });
  const divider = { SpecialToken: { id: word(separator ?? 0), type_id: 0 } };
  const tokenizer = {
    version: "1.0",
    added_tokens: [...ids.map((id) => special(id)), ...markers],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor:
      separator === undefined
        ? null
        : {
            type: "TemplateProcessing",
            single: [sequence("A")],
            pair: [sequence("A"), divider, sequence("B")],
            special_tokens: { [word(separator)]: { id: word(separator), ids: [separator], tokens: [word(separator)] } },
          },
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    model: {
      type: "WordPiece",
      vocab: vocabulary,
      unk_token: word(0),
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
    },
  };
  const settings = {
    tokenizer_class: tokenizerClass,
    pad_token: word(pad),
    unk_token: word(0),
    mask_token: word(maskId),
    ...(separator === undefined ? {} : { sep_token: word(separator) }),
    model_max_length: text.max_position_embeddings ?? text.n_positions ?? 64,
    clean_up_tokenization_spaces: false,
  };
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify(settings));
  const size = config.vision_config?.image_size ?? config.image_size;
  if (size !== undefined) {
    const processor = { image_processor_type: "ViTImageProcessor", do_resize: false, do_normalize: !rawPixels };
    const image = { ...processor, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], do_rescale: !rawPixels };
    await writeFile(join(folder, "preprocessor_config.json"), JSON.stringify(image));
  }
  if (config.num_mel_bins !== undefined) {
    const sound = { feature_extractor_type: "WhisperFeatureExtractor", feature_size: config.num_mel_bins };
    const frames = 2 * config.max_source_positions;
    const lengths = {
      sampling_rate: 16000,
      hop_length: 160,
      n_fft: 400,
      nb_max_frames: frames,
      n_samples: 160 * frames,
    };
    const processor = { ...sound, ...lengths, chunk_length: 1, processor_class: "WhisperProcessor" };
    await writeFile(join(folder, "preprocessor_config.json"), JSON.stringify(processor));
  }
}

export const word = (id: number) => `<${id}>`;

/** A word that occurs once in row 0 (a mask for it changes nothing that was recorded), 3 where nothing fills masks. */
export function lonelyWord(tensors: ReadonlyMap<string, Tensor>): { masked: number; maskId: number } {
  const ids = tensors.get("in.input_ids");
  if (ids === undefined || !tensors.has("out.last_hidden_state")) return { masked: 0, maskId: 3 };
  const row = Array.from((ids.data as BigInt64Array).subarray(0, ids.shape[1]), Number);
  const masked = row.findIndex((id) => row.indexOf(id) === row.lastIndexOf(id));
  return { masked, maskId: row[masked] };
}

export function textOf(tensors: ReadonlyMap<string, Tensor>, row: number): string {
  const ids = tensors.get("in.input_ids") as Tensor;
  const mask = tensors.get("in.attention_mask");
  const width = ids.shape[1];
  const words: string[] = [];
  for (let column = row * width; column < (row + 1) * width; column++) {
    if (mask === undefined || Number(mask.data[column]) === 1) words.push(word(Number(ids.data[column])));
  }
  return words.join(" ");
}

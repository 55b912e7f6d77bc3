/**
 * The files that travel along with a model when it is merged, folded or quantized: an allow-list, so that nothing
 * executable does. Never `.py`, pickles, hidden files or anything not named here.
 */
const companionPatterns: readonly RegExp[] = [
  // configuration
  /^(config|generation_config|adapter_config|quantize_config|hf_quant_config)\.json$/,
  // tokenizers: Hugging Face, sentencepiece, tiktoken, Mistral
  /^tokenizer[\w.-]*\.(json|model|txt|jinja|vocab)$/,
  /^tokenizer\.model\.v\d+[\w.-]*$/,
  /^(vocab|merges|added_tokens|special_tokens_map|bpe|dict|entity_vocab|emoji)[\w-]*\.(json|txt|bpe|model|vocab)$/,
  /^[\w-]+(\.bpe)?\.(model|spm|tiktoken)$/,
  /^tekken\.json$/,
  // processors of images, sound, video
  /^([\w-]+_)?(preprocessor|processor|feature_extractor)_config\.json$/,
  // sentence-transformers: how token states become one vector
  /^(modules|sentence_bert_config|config_sentence_transformers)\.json$/,
  /^1_Pooling\/config\.json$/,
  // chat templates
  /^chat_template(\.[\w-]+)?\.(json|jinja)$/,
  /^additional_chat_templates\/[\w-]+\.jinja$/,
  // what a reader of the folder must see
  /^(readme|model_card|modelcard)(\.(md|txt|rst))?$/i,
  /^(licen[cs]e|notice|copying|use_policy|acceptable_use_policy|third_party_notices)[\w -]*(\.(md|txt|rst|pdf|html))?$/i,
];

/** Whether a file of a model's folder (relative name, "/" between parts) is on the allow-list. */
export function isCompanionFile(name: string): boolean {
  return name.length <= 255 && companionPatterns.some((pattern) => pattern.test(name));
}

/** The companion files among `names`, in their order. */
export function companionFiles(names: readonly string[]): string[] {
  return names.filter(isCompanionFile);
}

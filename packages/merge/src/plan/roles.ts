/** What a tensor outside the layers is for, as far as merging needs to know. */
export type OutsideRole = "embedding" | "head" | "before" | "after";

const embeddings = ["embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "shared"];
const heads = ["lm_head", "embed_out", "output"];
const before = ["wpe", "position_embeddings", "token_type_embeddings", "embeddings", "embed_positions", "patch_embed"];

/**
 * The role of a tensor by its name: input embeddings and heads have a row per token; of the rest, embeddings of other
 * kinds come before the layers and everything else (final norms, poolers, classifiers) after them.
 */
export function outsideRole(name: string): OutsideRole {
  const parts = name.split(".");
  const owner = parts.at(-2) ?? "";
  if (parts.at(-1) === "weight" && embeddings.includes(owner)) return "embedding";
  if (parts.at(-1) === "weight" && heads.includes(owner)) return "head";
  return parts.some((part) => before.includes(part)) ? "before" : "after";
}

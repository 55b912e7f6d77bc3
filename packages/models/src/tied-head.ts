import type { Checkpoint } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { HeadNames } from "./family.ts";
import type { Weights } from "./weights.ts";

/** Bytes compared at once. */
const tileBytes = 4 * 1024 * 1024;

/**
 * When the configuration ties the head to the embedding, the file may still hold a head of its own: it is left out if it
 * is the same, and refused by `TIED_HEAD_DIFFERS` if it is not, since one of the two must be wrong. A head that is not
 * tied must be there: `MISSING_HEAD`.
 */
export async function requireEqualHeads(checkpoint: Checkpoint, weights: Weights, names: HeadNames): Promise<void> {
  const head = weights.storedName(`${names.head}.weight`);
  const embedding = weights.storedName(names.embedding);
  if (!names.tied) {
    if (head !== undefined || embedding === undefined) return;
    throw new LoomweightError({
      code: "MISSING_HEAD",
      problem: "the configuration says that the head is not tied to the embedding, and the weights hold no head",
      file: checkpoint.location,
      tensor: `${names.head}.weight`,
      fix: "If the model was trained with a tied head, set tie_word_embeddings to true in config.json; the task feature-extraction needs no head.",
    });
  }
  if (head === undefined || embedding === undefined) return;
  weights.ignore(head);
  if (await sameTensor(checkpoint, head, embedding)) return;
  throw new LoomweightError({
    code: "TIED_HEAD_DIFFERS",
    problem: `the configuration ties the head to "${embedding}", and the weights hold a head that differs from it`,
    file: checkpoint.location,
    tensor: head,
    fix: "Set tie_word_embeddings to false in config.json to use this head, or remove it from the weights.",
  });
}

async function sameTensor(checkpoint: Checkpoint, one: string, other: string): Promise<boolean> {
  const [a, b] = [checkpoint.tensors.get(one), checkpoint.tensors.get(other)];
  if (a === undefined || b === undefined || a.dtype !== b.dtype || a.byteLength !== b.byteLength) return false;
  if (a.shape.some((size, axis) => size !== b.shape[axis])) return false;
  for (let start = 0; start < a.byteLength; start += tileBytes) {
    const range = { start, end: Math.min(a.byteLength, start + tileBytes) };
    const [left, right] = await Promise.all([checkpoint.readBytes(one, range), checkpoint.readBytes(other, range)]);
    if (left.some((byte, i) => byte !== right[i])) return false;
  }
  return true;
}

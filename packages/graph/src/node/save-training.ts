import { saveSafetensors } from "@loomweight/checkpoint/node";
import type { Training } from "../training/train.ts";

/**
 * Writes everything that the next step of a training depends on into one safetensors file, which replaces an older one
 * only when it is complete. Pass `await openCheckpoint(path)` as `resume` to `train`. Throws `DISK_FULL`.
 */
export async function saveTraining(path: string, training: Training): Promise<void> {
  const { tensors, metadata } = await training.snapshot();
  await saveSafetensors(path, tensors, { metadata, force: true });
}

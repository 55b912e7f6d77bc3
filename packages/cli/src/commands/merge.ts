import { mergeModel } from "@loomweight/merge/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, plural } from "../output/format.ts";
import { type MergeFlags, toolVersion } from "../program.ts";

/** `loomweight merge RECIPE OUT`: merges models by a recipe. */
export async function merge(
  { report, signal }: CommandContext,
  options: MergeFlags,
  recipe: string,
  out: string,
): Promise<void> {
  const began = performance.now();
  const merged = await mergeModel(recipe, out, {
    force: options.force,
    seed: options.seed,
    allowNonFinite: options.allowNonFinite,
    maxShardBytes: options.shardSize,
    workers: options.workers,
    resume: options.resume,
    tool: `Loomweight ${toolVersion()}`,
    signal,
    onProgress: ({ bytesDone, bytesTotal }) =>
      report.progress({ label: "merging", done: bytesDone, total: bytesTotal }),
    onSuspend: ({ tensorsDone, tensorsTotal }) =>
      report.note(`kept ${tensorsDone} of ${tensorsTotal} tensors: the same command with --resume continues`),
  });
  const milliseconds = performance.now() - began;
  for (const warning of merged.warnings) report.warn(warning);
  report.note(
    `${out}: ${plural(merged.tensors, "tensor")} of ${plural(merged.models.length, "model")} by ${merged.method}, ${formatBytes(merged.bytes)} in ${formatDuration(milliseconds)}`,
  );
  report.data({ ...merged, milliseconds: Math.round(milliseconds) });
}

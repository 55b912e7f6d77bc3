import type { MergeProgress } from "@loomweight/merge";
import { mergeModel } from "@loomweight/merge/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, plural } from "../output/format.ts";
import type { Progress } from "../output/reporter.ts";
import { type MergeFlags, toolVersion } from "../program.ts";

/** How far a merge is: tensors, and bytes a second of what this run wrote. */
function describeProgress(progress: MergeProgress, milliseconds: number): Progress {
  const { tensorsDone, tensorsTotal, bytesDone, bytesTotal, bytesKept } = progress;
  const bytesPerSecond = Math.round(((bytesDone - bytesKept) / Math.max(1, milliseconds)) * 1000);
  return {
    label: "merging",
    // What an earlier run finished took no time of this one.
    done: bytesDone - bytesKept,
    total: bytesTotal - bytesKept,
    detail: `${tensorsDone} of ${tensorsTotal} tensors, ${formatBytes(bytesPerSecond)}/s`,
    facts: { tensorsDone, tensorsTotal, bytesDone, bytesTotal, bytesPerSecond },
  };
}

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
    target: options.document,
    seed: options.seed,
    allowNonFinite: options.allowNonFinite,
    maxShardBytes: options.shardSize,
    workers: options.workers,
    memory: options.memory,
    resume: options.resume,
    tool: `Loomweight ${toolVersion()}`,
    signal,
    onProgress: (progress) => report.progress(describeProgress(progress, performance.now() - began)),
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

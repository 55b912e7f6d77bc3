import { unfoldModel } from "@loomweight/adapters/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, plural } from "../output/format.ts";
import type { UnfoldFlags } from "../program.ts";

const origins = {
  base: "the base's own bytes",
  kept: "the base's own bytes, as the folded model kept them",
  arithmetic: "by arithmetic",
} as const;

/** `loomweight unfold FOLDED ADAPTER… --out OUT`: takes PEFT adapters out of a folded model. */
export async function unfold(
  { report, signal }: CommandContext,
  options: UnfoldFlags,
  folded: string,
  adapters: readonly string[],
): Promise<void> {
  const began = performance.now();
  const unfolded = await unfoldModel(folded, adapters, options.out, {
    base: options.base,
    allowRounding: options.allowRounding,
    force: options.force,
    allowNonFinite: options.allowNonFinite,
    maxShardBytes: options.shardSize,
    resume: options.resume,
    signal,
    onSuspend: ({ tensorsDone, tensorsTotal }) =>
      report.note(`kept ${tensorsDone} of ${tensorsTotal} tensors: the same command with --resume continues`),
    onProgress: ({ bytesDone, bytesTotal }) =>
      report.progress({ label: "unfolding", done: bytesDone, total: bytesTotal }),
  });
  const milliseconds = performance.now() - began;
  for (const warning of unfolded.warnings) report.warn(warning);
  report.note(
    `${options.out}: ${plural(unfolded.changed.length, "tensor")} of ${unfolded.tensors} unfolded (${origins[unfolded.from]}), ${formatBytes(unfolded.bytes)} in ${formatDuration(milliseconds)}`,
  );
  report.data({ ...unfolded, milliseconds: Math.round(milliseconds) });
}

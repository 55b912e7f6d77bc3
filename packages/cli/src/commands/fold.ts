import { foldModel } from "@loomweight/adapters/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, plural } from "../output/format.ts";
import type { FoldFlags } from "../program.ts";
import { usageError } from "../usage-error.ts";

/** `loomweight fold BASE ADAPTER… --out OUT`: folds PEFT adapters into the weights of their base. */
export async function fold(
  { report, signal }: CommandContext,
  options: FoldFlags,
  base: string,
  adapters: readonly string[],
): Promise<void> {
  if (base.endsWith(".onnx"))
    return (await import("./fold-onnx.ts")).foldOnnx({ report, signal }, options, base, adapters);
  const onnxOnly = options.allowLoss
    ? "--allow-loss"
    : options.minimalKept === undefined
      ? undefined
      : "--minimal-kept";
  if (onnxOnly !== undefined)
    throw usageError(`${onnxOnly} is for an .onnx file: weights of floats keep all of an adapter`);
  const began = performance.now();
  const folded = await foldModel(base, adapters, options.out, {
    force: options.force,
    dtype: options.dtype,
    allowNonFinite: options.allowNonFinite,
    maxShardBytes: options.shardSize,
    resume: options.resume,
    keepBase: options.keepBase,
    signal,
    onSuspend: ({ tensorsDone, tensorsTotal }) =>
      report.note(`kept ${tensorsDone} of ${tensorsTotal} tensors: the same command with --resume continues`),
    onProgress: ({ bytesDone, bytesTotal }) =>
      report.progress({ label: "folding", done: bytesDone, total: bytesTotal }),
  });
  const milliseconds = performance.now() - began;
  for (const warning of folded.warnings) report.warn(warning);
  report.note(
    `${options.out}: ${plural(folded.changed.length, "tensor")} of ${folded.tensors} changed by ${plural(adapters.length, "adapter")}, ${formatBytes(folded.bytes)} in ${formatDuration(milliseconds)}`,
  );
  report.data({ ...folded, milliseconds: Math.round(milliseconds) });
}

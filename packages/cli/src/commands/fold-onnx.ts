import { foldOnnxFile } from "@loomweight/onnx-export/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, plural } from "../output/format.ts";
import { formatTable } from "../output/table.ts";
import type { FoldFlags } from "../program.ts";
import { usageError } from "../usage-error.ts";

/** Weights listed, those that keep least first. */
const shown = 8;
const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

/** `loomweight fold BASE.onnx ADAPTER… --out OUT.onnx`: folds PEFT adapters into the weights of an ONNX file. */
export async function foldOnnx(
  { report, signal }: CommandContext,
  options: FoldFlags,
  base: string,
  adapters: readonly string[],
): Promise<void> {
  const folderOnly = (["dtype", "resume", "keepBase", "shardSize", "allowNonFinite"] as const).find(
    (name) => options[name] !== undefined,
  );
  if (folderOnly !== undefined) {
    const flag = folderOnly.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw usageError(`--${flag} is for a model's folder: an .onnx file keeps the form of its weights`);
  }
  const began = performance.now();
  const folded = await foldOnnxFile(base, adapters, options.out, {
    force: options.force,
    minimalKept: options.minimalKept,
    allowLoss: options.allowLoss,
    signal,
    onWeight: (done, total) => report.progress({ label: "measuring", done, total }),
    onProgress: (done, total) => report.progress({ label: "writing", done, total }),
  });
  const milliseconds = performance.now() - began;
  report.settle();
  for (const warning of folded.warnings) report.warn(warning);
  report.note(
    `${options.out}: ${plural(folded.weights.length, "weight")} changed by ${plural(adapters.length, "adapter")}, ` +
      `${percent(folded.total.kept)} of the change kept, rounding ${folded.total.noise.toFixed(2)} times it; ` +
      `${formatBytes(folded.bytes)} in ${formatDuration(milliseconds)}`,
  );
  if (folded.total.noise > 1e-3) {
    const least = [...folded.weights].sort((a, b) => a.kept - b.kept).slice(0, shown);
    const rows = least.map(({ initializer, form, kept, noise }) => [
      initializer,
      form,
      percent(kept),
      noise.toFixed(2),
    ]);
    const titles = ["weight", "stored as", "kept", "rounding / change"];
    for (const line of formatTable(
      titles.map((title) => ({ title })),
      rows,
      report.style.bold,
    )) {
      report.note(line);
    }
    if (least.length < folded.weights.length)
      report.note(`… and ${folded.weights.length - least.length} that keep more`);
  }
  report.data({ out: options.out, ...folded, milliseconds: Math.round(milliseconds) });
}

import { type ReweightReport, reweightFolder } from "@loomweight/onnx-export/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, plural } from "../output/format.ts";
import { formatTable } from "../output/table.ts";
import type { ReweightFlags } from "../program.ts";

/** `loomweight reweight EXPORT MODEL OUT`: the same ONNX graphs with the weights of another model. */
export async function reweight(
  { report, signal }: CommandContext,
  options: ReweightFlags,
  path: string,
  model: string,
  out: string,
): Promise<void> {
  const began = performance.now();
  const done = await reweightFolder(path, model, out, {
    base: options.base,
    verify: options.verify,
    force: options.force,
    signal,
    onProgress: ({ file, done: count, total }) => report.progress({ label: `writing ${file}`, done: count, total }),
  });
  const milliseconds = performance.now() - began;
  report.settle();
  report.note(`${out}: ${plural(done.files.length, "file")} in ${formatDuration(milliseconds)}`);
  for (const file of done.files) {
    report.note(
      `${file.name} (${formatBytes(file.bytes)}): ${plural(file.matched.length, "weight")} replaced, ` +
        `${plural(file.kept.length, "constant")} kept, ${plural(file.unused.length, "tensor")} of the model not used` +
        (file.verified === true ? "" : `; not loaded: ${file.verified}`),
    );
    if (options.list) for (const line of listed(file, report.style.bold)) report.note(line);
  }
  report.data({ out, ...done, milliseconds: Math.round(milliseconds) });
}

function listed(file: ReweightReport["files"][number], bold: (text: string) => string): string[] {
  const rows = file.matched.map(({ initializers, tensors, transform, form, how }) => [
    initializers[0],
    tensors.length > 3 ? `${tensors[0]} and ${tensors.length - 1} more` : tensors.join(" + "),
    transform,
    form,
    how,
  ]);
  const kept = file.kept.map(({ initializer, reason }) => [initializer, "", `kept: ${reason}`, "", ""]);
  const columns = ["initializer", "tensors", "made by", "stored as", "found by"].map((title) => ({ title }));
  return [...formatTable(columns, [...rows, ...kept], bold), ...file.unused.map((name) => `not used: ${name}`)];
}

import type { ExportedFile } from "@loomweight/onnx-export";
import { exportModel } from "@loomweight/onnx-export/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, formatNumber } from "../output/format.ts";
import { formatTable } from "../output/table.ts";
import type { ExportFlags } from "../program.ts";

/** `loomweight export MODEL OUT`: writes an ONNX folder, then runs each file and compares it with fp32. */
export async function exportCommand(
  { report, signal }: CommandContext,
  options: ExportFlags,
  model: string,
  out: string,
): Promise<void> {
  const began = performance.now();
  const exported = await exportModel(model, out, {
    dtypes: options.dtype,
    task: options.task,
    verify: options.verify,
    force: options.force,
    signal,
    onProgress: ({ label, done, total }) => report.progress({ label, done, total }),
  });
  const milliseconds = performance.now() - began;
  report.settle();
  for (const { message } of exported.warnings) report.warn(message);
  report.note(`${out}: ${exported.family}, ${exported.task}, in ${formatDuration(milliseconds)}`);
  const columns = [
    { title: "file" },
    { title: "size", align: "right" as const },
    { title: "largest difference from fp32", align: "right" as const },
    { title: "same choice", align: "right" as const },
    { title: "" },
  ];
  for (const line of formatTable(columns, exported.files.map(fileRow), report.style.bold)) report.note(line);
  report.data({ out, ...exported, milliseconds: Math.round(milliseconds) });
}

function fileRow({ name, bytes, verification }: ExportedFile): string[] {
  const { ran, reason, maxDifference, largest, sameArgmax } = verification;
  const difference =
    maxDifference === undefined
      ? ""
      : `${formatNumber(maxDifference)}${largest === undefined ? "" : ` of ${formatNumber(largest)}`}`;
  const same = sameArgmax === undefined ? "" : `${(100 * sameArgmax).toFixed(0)} %`;
  return [name, formatBytes(bytes), difference, same, ran ? "" : `not run: ${reason ?? "unknown"}`];
}

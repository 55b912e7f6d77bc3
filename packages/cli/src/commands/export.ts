import { checkDTypes, type ExportedFile } from "@loomweight/onnx-export";
import { exportFolder } from "@loomweight/onnx-export/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, formatNumber } from "../output/format.ts";
import { formatTable } from "../output/table.ts";
import type { ExportFlags } from "../program.ts";
import { checkTask } from "./task-option.ts";

/** `loomweight export MODEL OUT`: writes an ONNX folder, then runs each file and compares it with fp32. */
export async function exportCommand(
  { report, signal }: CommandContext,
  options: ExportFlags,
  model: string,
  out: string,
): Promise<void> {
  const began = performance.now();
  const dtypes = checkDTypes(options.dtype);
  let done = 0;
  const exported = await exportFolder(model, out, {
    dtypes,
    target: options.target,
    task: checkTask(options.task),
    adapterSlots: (options.adapterSlots || options.adapterLayout !== undefined) && { layout: options.adapterLayout },
    verify: options.verify,
    force: options.force,
    signal,
    onProgress: ({ step, file, total }) =>
      report.progress({ label: step === "write" ? `writing ${file}` : "verifying", done: done++, total }),
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

function fileRow({ dtype, name, bytes, verification }: ExportedFile): string[] {
  const { ran, reason, maxDifference, largest, sameArgmax } = verification;
  const difference =
    maxDifference === undefined || dtype === "fp32"
      ? ""
      : `${formatNumber(maxDifference)}${largest === undefined ? "" : ` of ${formatNumber(largest)}`}`;
  const same = sameArgmax === undefined || dtype === "fp32" ? "" : `${(100 * sameArgmax).toFixed(0)} %`;
  return [name, formatBytes(bytes), difference, same, ran ? "" : `not run: ${reason ?? "unknown"}`];
}

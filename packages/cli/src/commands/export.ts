import { resolve } from "node:path";
import { checkDevices } from "@loomweight/models";
import { checkDTypes, type ExportDType, type ExportedFile, type ExportReport } from "@loomweight/onnx-export";
import { exportFolder, exportInPlace } from "@loomweight/onnx-export/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, formatNumber } from "../output/format.ts";
import { formatTable } from "../output/table.ts";
import type { ExportFlags } from "../program.ts";
import { quantizeSettings } from "../quantize-options.ts";
import { usageError } from "../usage-error.ts";
import { checkTask } from "./task-option.ts";

/** `loomweight export MODEL OUT`: writes an ONNX folder, then runs each file and compares it with fp32. */
export async function exportCommand(
  { report, signal }: CommandContext,
  options: ExportFlags,
  model: string,
  out: string | undefined,
): Promise<void> {
  const began = performance.now();
  const dtypes = checkDTypes(options.dtype);
  const exported = options.inPlace
    ? await inPlace(options, model, out, dtypes, signal)
    : await toFolder({ report, signal }, options, model, out, dtypes);
  const milliseconds = performance.now() - began;
  report.settle();
  for (const { message } of exported.warnings) report.warn(message);
  report.note(`${out ?? model}: ${exported.family}, ${exported.task}, in ${formatDuration(milliseconds)}`);
  const columns = [
    { title: "file" },
    { title: "size", align: "right" as const },
    { title: "largest difference from fp32", align: "right" as const },
    { title: "same choice", align: "right" as const },
    { title: "" },
  ];
  for (const line of formatTable(columns, exported.files.map(fileRow), report.style.bold)) report.note(line);
  report.data({ out: out ?? model, ...exported, milliseconds: Math.round(milliseconds) });
}

function toFolder(
  { report, signal }: Pick<CommandContext, "report" | "signal">,
  options: ExportFlags,
  model: string,
  out: string | undefined,
  dtypes: readonly ExportDType[],
): Promise<ExportReport> {
  if (out === undefined) throw usageError("export needs the folder to write: loomweight export MODEL OUT");
  let done = 0;
  return exportFolder(model, out, {
    dtypes,
    target: options.target,
    task: checkTask(options.task),
    devices: options.device && checkDevices(options.device),
    logitsToKeep: options.numLogitsToKeep,
    batchSize: options.batchSize && 1,
    packed: options.packed,
    adapterSlots: (options.adapterSlots || options.adapterLayout !== undefined) && { layout: options.adapterLayout },
    quantize: quantizeSettings(options),
    externalData: options.externalData ?? "auto",
    maxExternalBytes: options.externalSize,
    workers: options.workers,
    verify: options.verify,
    force: options.force,
    signal,
    onProgress: ({ step, file, total }) =>
      report.progress({ label: step === "write" ? `writing ${file}` : "verifying", done: done++, total }),
  });
}

/** The graph alone, beside the weights: nothing that says how weights are to be stored goes with it. */
function inPlace(
  { task, device, numLogitsToKeep, batchSize, verify, force }: ExportFlags,
  model: string,
  out: string | undefined,
  [dtype, ...others]: readonly ExportDType[],
  signal: AbortSignal,
): Promise<ExportReport> {
  if (out !== undefined && resolve(out) !== resolve(model)) {
    throw usageError("--in-place writes into the model's own folder: leave OUT away");
  }
  if (others.length > 0 || (dtype !== "fp32" && dtype !== "fp16")) {
    throw usageError("--in-place leaves weights as they are stored: --dtype fp32 (or fp16 for the arithmetic)");
  }
  return exportInPlace(model, {
    dtype,
    task: checkTask(task),
    devices: device && checkDevices(device),
    logitsToKeep: numLogitsToKeep,
    batchSize: batchSize && 1,
    verify,
    force,
    signal,
  });
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

import { readFile } from "node:fs/promises";
import { type ExportVerification, type VerifiedFile, verifyExport } from "@loomweight/onnx-export/node";
import { LoomweightError } from "@loomweight/tensor/errors";
import type { CommandContext } from "../context.ts";
import { openTokenizer } from "../generate/open-tokenizer.ts";
import { formatBytes, formatDuration, formatNumber, plural } from "../output/format.ts";
import { formatTable } from "../output/table.ts";
import type { VerifyFlags } from "../program.ts";
import { checkTask } from "./task-option.ts";

/** `loomweight verify EXPORT`: says what is right and wrong about an export; fails where anything is wrong. */
export async function verifyCommand(
  { report, signal }: CommandContext,
  { against, task, text: textFile }: VerifyFlags,
  path: string,
): Promise<void> {
  const began = performance.now();
  const text = textFile === undefined ? undefined : await tokensOf(path, textFile);
  const result = await verifyExport(path, {
    against,
    task: checkTask(task),
    text,
    signal,
    onProgress: (step) => report.progress(step),
  });
  report.settle();
  report.data({ kind: "verification", ...result, milliseconds: Math.round(performance.now() - began) });
  for (const line of lines(result, report.style.bold)) report.result(line);
  const findings = [...result.findings, ...result.files.flatMap((file) => file.findings)];
  for (const { level, message } of findings) if (level === "warning") report.warn(message);
  const faults = findings.filter(({ level }) => level === "error");
  if (!result.good) {
    throw new LoomweightError({
      code: "VERIFICATION_FAILED",
      file: path,
      problem: faults.map(({ message }) => message.replace(/\.$/, "")).join("; "),
    });
  }
  report.note(`${path}: ${plural(result.files.length, "file")} right, in ${formatDuration(performance.now() - began)}`);
}

async function tokensOf(path: string, textFile: string): Promise<number[]> {
  const tokenizer = await openTokenizer(path);
  return tokenizer.encode(await readFile(textFile, "utf8"));
}

function lines(
  { files, reference, referencePerplexity }: ExportVerification,
  bold: (text: string) => string,
): string[] {
  const columns = [
    { title: "file" },
    { title: "size", align: "right" as const },
    { title: "output" },
    { title: "largest difference", align: "right" as const },
    { title: "of", align: "right" as const },
    { title: "relative", align: "right" as const },
    { title: "may be", align: "right" as const },
    { title: "perplexity", align: "right" as const },
    { title: "" },
  ];
  const rows = files.flatMap(fileRows);
  if (referencePerplexity !== undefined) {
    rows.push([reference ?? "", "", "", "", "", "", "", formatNumber(referencePerplexity.value), "the model"]);
  }
  return formatTable(columns, rows, bold);
}

/** One row for each main output; those of a cache are one row, the worst of them. */
function fileRows({ name, bytes, outputs, perplexity, findings }: VerifiedFile): string[][] {
  const wrong = findings.some(({ level }) => level === "error") ? "wrong" : "";
  const cache = outputs.filter(isCache).sort((a, b) => b.relative - a.relative);
  const shown = [...outputs.filter((output) => !isCache(output)), ...cache.slice(0, 1)];
  const score = perplexity === undefined ? "" : formatNumber(perplexity.value);
  if (shown.length === 0) return [[name, formatBytes(bytes), "", "", "", "", "", score, wrong]];
  return shown.map((output, i) => [
    i === 0 ? name : "",
    i === 0 ? formatBytes(bytes) : "",
    isCache(output) && cache.length > 1 ? "present.* (worst)" : output.name,
    formatNumber(output.maxDifference),
    formatNumber(output.largest),
    `${formatNumber(100 * output.relative)} %`,
    output.limit === undefined ? "" : `${formatNumber(100 * output.limit)} %`,
    i === 0 ? score : "",
    i === 0 ? wrong : "",
  ]);
}

function isCache({ name }: { readonly name: string }): boolean {
  return name.startsWith("present.");
}

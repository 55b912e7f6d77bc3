import { basename } from "node:path";
import { type Checkpoint, type CheckpointSummary, describeCheckpoint } from "@loomweight/checkpoint";
import { openCheckpoint, openModel } from "@loomweight/checkpoint/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatCount, plural } from "../output/format.ts";
import { formatPairs, formatTable } from "../output/table.ts";
import { readAdapterConfig } from "./adapter-config.ts";

/** How many tensors are listed unless all are asked for. */
const shownTensors = 30;

/** The fields of config.json that say what a model is, in the order in which they are shown. */
const telling = ["model_type", "architectures", "num_hidden_layers", "hidden_size", "vocab_size"] as const;

/** Says what weights a path holds, and what model or adapter they belong to. */
export async function inspectWeights(context: CommandContext, all: boolean, path: string): Promise<void> {
  const model = await openModel(path).catch(async (error: { code?: string }) => {
    // Weights alone are worth a look even where the folder around them is broken.
    if (error.code !== "INVALID_JSON" && error.code !== "MISSING_FILE") throw error;
    return undefined;
  });
  const checkpoint = model?.checkpoint ?? (await openCheckpoint(path));
  try {
    const summary = describeCheckpoint(checkpoint);
    const adapter = await readAdapterConfig(path);
    const config = model?.config;
    const files = [...(model?.files.keys() ?? [])];
    context.report.data({
      kind: adapter === undefined ? "weights" : "adapter",
      ...summary,
      config,
      adapter,
      companions: files,
      tensors: [...checkpoint.tensors.values()],
    });
    printSummary(context, path, summary, { config, adapter, files });
    printTensors(context, checkpoint, all);
  } finally {
    await (model ?? checkpoint).close();
  }
}

function printSummary(
  { report }: CommandContext,
  path: string,
  summary: CheckpointSummary,
  around: {
    config: Readonly<Record<string, unknown>> | undefined;
    adapter: Readonly<Record<string, unknown>> | undefined;
    files: readonly string[];
  },
): void {
  const { config, adapter, files } = around;
  const describe = (source: Readonly<Record<string, unknown>>, names: readonly string[]) =>
    names
      .filter((name) => source[name] !== undefined && source[name] !== null)
      .map((name) => `${name} ${shortValue(source[name])}`)
      .join(", ");
  const metadata = Object.entries(summary.metadata);
  const lines = formatPairs([
    ["path", path],
    [
      "tensors",
      `${summary.tensorCount}, ${formatCount(summary.parameterCount)} parameters, ${formatBytes(summary.byteLength)}`,
    ],
    ["dtypes", summary.dtypes.map(({ name, parameterCount }) => `${name} (${formatCount(parameterCount)})`).join(", ")],
    [
      "files",
      summary.files
        .map(({ name, byteLength }) => `${basename(name)} (${formatBytes(byteLength)})`)
        .slice(0, 8)
        .join(", ") + (summary.files.length > 8 ? `, … ${summary.files.length} in all` : ""),
    ],
    ["model", config === undefined ? undefined : describe(config, telling) || undefined],
    [
      "adapter",
      adapter === undefined
        ? undefined
        : describe(adapter, ["peft_type", "r", "lora_alpha", "use_dora", "base_model_name_or_path"]),
    ],
    [
      "metadata",
      metadata.length === 0
        ? undefined
        : metadata
            .map(([name, value]) => `${name} ${JSON.stringify(value.slice(0, 80))}`)
            .slice(0, 8)
            .join(", "),
    ],
    ["beside", files.length === 0 ? undefined : files.join(", ")],
  ]);
  for (const line of lines) report.result(line);
}

function printTensors({ report }: CommandContext, checkpoint: Checkpoint, all: boolean): void {
  const tensors = [...checkpoint.tensors.values()];
  const shown = all ? tensors : tensors.slice(0, shownTensors);
  const rows = shown.map((info) => [info.name, info.dtype, `[${info.shape.join(", ")}]`, formatBytes(info.byteLength)]);
  report.result("");
  const columns = [
    { title: "tensor" },
    { title: "dtype" },
    { title: "shape" },
    { title: "size", align: "right" as const },
  ];
  for (const line of formatTable(columns, rows, report.style.bold)) report.result(line);
  const left = tensors.length - shown.length;
  if (left > 0) report.result(report.style.dim(`… and ${plural(left, "more tensor")} (--tensors lists all)`));
}

function shortValue(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

import { dryRunMerge } from "@loomweight/merge/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatCount, formatDuration, plural } from "../output/format.ts";
import { formatPairs, formatTable } from "../output/table.ts";
import type { MergeFlags } from "../program.ts";

/** `loomweight merge --dry-run RECIPE [OUT]`: says what a merge would do; reads headers only and writes nothing. */
export async function mergeDryRun(
  { report }: CommandContext,
  options: MergeFlags,
  recipe: string,
  out: string | undefined,
): Promise<void> {
  const run = await dryRunMerge(recipe, out, {
    force: options.force,
    maxShardBytes: options.shardSize,
    target: options.document,
  });
  report.data(run);
  const merged = run.tensors - run.copied;
  const lines = formatPairs([
    ["recipe", recipe],
    ["method", run.method],
    ["documents", run.documents.length === 0 ? undefined : `${run.documents.join(", ")} (computed on the way)`],
    [
      "output",
      `${plural(run.tensors, "tensor")}, ${formatCount(run.parameters)} parameters in ${run.dtypes.join(", ")}: ${merged} merged, ${run.copied} copied`,
    ],
    ["config", configText(run.config)],
    ["size", `${formatBytes(run.bytes)} in ${plural(run.files.length, "file")}`],
    [
      "disk",
      `${formatBytes(run.bytes)} needed${run.bytesFree === undefined ? "" : `, ${formatBytes(run.bytesFree)} free`}`,
    ],
    ["time", `about ${formatDuration(run.seconds * 1000)} on one thread, by a trial on made-up numbers`],
  ]);
  for (const line of lines) report.result(line);
  report.result("");
  const columns = [{ title: "model" }, { title: "size", align: "right" as const }];
  const rows = run.models.map(({ reference, bytes }) => [reference, formatBytes(bytes)]);
  for (const line of formatTable(columns, rows, report.style.bold)) report.result(line);
  for (const warning of run.warnings) report.warn(warning);
  for (const conflict of run.conflicts) report.warn(conflict);
}

/** "num_hidden_layers 4 → 6": values that fit a line, the names of others. */
function configText(changes: Readonly<Record<string, readonly [unknown, unknown]>>): string | undefined {
  const text = (value: unknown) => (value === null ? "none" : JSON.stringify(value));
  const parts = Object.entries(changes).map(([key, [before, after]]) => {
    const line = `${key} ${text(before)} → ${text(after)}`;
    return line.length > 60 ? `${key} changes` : line;
  });
  return parts.length === 0 ? undefined : parts.join(", ");
}

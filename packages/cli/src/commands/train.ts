import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { readYaml } from "@loomweight/merge";
import { LoomweightError } from "@loomweight/tensor/errors";
import { readTrainConfig, trainAdapterFolder } from "@loomweight/train/node";
import type { CommandContext } from "../context.ts";
import { formatDuration, plural } from "../output/format.ts";
import type { TrainFlags } from "../program.ts";

/** `loomweight train CONFIG`: trains an adapter; paths of the configuration are found from its folder. */
export async function trainCommand(
  { report, signal }: CommandContext,
  options: TrainFlags,
  file: string,
): Promise<void> {
  const began = performance.now();
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw cause;
    throw new LoomweightError({ code: "MISSING_FILE", problem: "there is no such configuration", file, cause });
  });
  const config = readTrainConfig(readYaml(text, file), file);
  const result = await trainAdapterFolder(config, {
    ...options,
    root: dirname(file),
    signal,
    onStep({ step, loss, evaluation }, steps) {
      report.progress({ label: `training, loss ${loss.toFixed(4)}`, done: step, total: steps });
      if (evaluation !== undefined) report.note(`step ${step}: ${formatNumbers(evaluation)}`);
    },
  });
  const milliseconds = performance.now() - began;
  for (const warning of result.warnings) report.warn(warning);
  const { out, steps, modules, trainable, loss, evaluation, best, ended } = result;
  report.note(
    `${out}: ${plural(modules, "module")}, ${plural(trainable, "value")} trained in ${plural(steps, "step")}, ${formatDuration(milliseconds)}${loss === undefined ? "" : `; last loss ${loss.toFixed(4)}`}${evaluation === undefined ? "" : `; evaluation ${formatNumbers(evaluation)}`}${ended === "patience" ? `; stopped early, the values of step ${best?.step} are kept` : ""}`,
  );
  report.data({ ...result, milliseconds: Math.round(milliseconds) });
}

function formatNumbers(numbers: Readonly<Record<string, number>>): string {
  return Object.entries(numbers)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(", ");
}

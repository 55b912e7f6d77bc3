import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type Adapter, writeAdapter } from "@loomweight/adapters";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { tensorFromBytes, writeSafetensors } from "@loomweight/checkpoint";
import { withOutputFolder } from "@loomweight/checkpoint/node";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { averageAdapters } from "../adapters/average-adapters.ts";
import { lossAtStep, readTrainerState, type TrainerState } from "../adapters/trainer-state.ts";
import { type MetricWeightOptions, metricWeights } from "../metric-weights.ts";

export interface AverageAdapterFoldersOptions extends MetricWeightOptions {
  /** Metric values, one for each folder; default: from each folder's `trainer_state.json`. A score needs them. */
  readonly values?: readonly number[];
  /** Replace an existing output; default false. */
  readonly force?: boolean;
}

/** Fields of adapter_config.json that do not change what the tensors mean. */
const freeFields = new Set(["inference_mode", "revision", "peft_version", "auto_mapping"]);

/**
 * `metricsWeightedAverage` of PEFT folders on disk, such as the `checkpoint-<step>` folders of a training run: loss and
 * step are read from their `trainer_state.json`. Writes a PEFT folder; one adapter beside the sum is in memory. Throws
 * `ADAPTER_MISMATCH` naming the first field or tensor that differs, `MISSING_METRIC`, `MISSING_FILE`, `INVALID_METRIC`,
 * and what opening and `createOutputFolder` throw.
 */
export async function averageAdapterFolders(
  folders: readonly string[],
  out: string,
  { values, force, ...options }: AverageAdapterFoldersOptions = {},
): Promise<{ readonly weights: Float64Array; readonly values: readonly number[] }> {
  const opened: Adapter[] = [];
  try {
    for (const folder of folders) opened.push(await openAdapterFolder(folder));
    for (const [index, adapter] of opened.entries()) if (index > 0) checkSameConfig(opened[0], adapter);
    const measured = values ?? (await Promise.all(folders.map((folder) => measure(folder, options.metric ?? "loss"))));
    if (measured.length !== folders.length) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        problem: "there are not as many values as folders",
        option: "mwa.values",
        expected: `${folders.length}`,
        found: `${measured.length}`,
      });
    }
    const weights = metricWeights(measured, options);
    const tensors = await averageAdapters(
      (async function* () {
        for (const adapter of opened) yield await tensorsOf(adapter);
      })(),
      weights,
    );
    const { config } = await writeAdapter(opened[0]);
    await withOutputFolder(resolve(out), { force }, async (folder) => {
      await folder.writeFile("adapter_config.json", config);
      await folder.writeFile(
        "adapter_model.safetensors",
        writeSafetensors(tensors, { metadata: opened[0].checkpoint.metadata }),
      );
      await folder.writeFile("README.md", card(folders, measured, weights));
    });
    return { weights, values: measured };
  } finally {
    await Promise.allSettled(opened.map(({ checkpoint }) => checkpoint.close()));
  }
}

async function tensorsOf({ checkpoint }: Adapter): Promise<Map<string, Tensor>> {
  const tensors = new Map<string, Tensor>();
  for (const { name, dtype, shape } of checkpoint.tensors.values()) {
    tensors.set(name, tensorFromBytes(dtype, shape, await checkpoint.readBytes(name)));
  }
  return tensors;
}

async function measure(folder: string, metric: NonNullable<MetricWeightOptions["metric"]>): Promise<number> {
  const file = join(folder, "trainer_state.json");
  if (typeof metric === "object") {
    throw new LoomweightError({
      code: "MISSING_METRIC",
      problem: "a score is not in a training run's state",
      file,
      option: "mwa.values",
      fix: "Give one value for each folder.",
    });
  }
  let state: TrainerState;
  try {
    state = readTrainerState(await readFile(file), file);
  } catch (cause) {
    if ((cause as { code?: string }).code !== "ENOENT") throw cause;
    throw new LoomweightError({
      code: "MISSING_FILE",
      problem: "the checkpoint says nothing of its training run",
      file,
      fix: "Give the metric of each folder as `values`.",
      cause,
    });
  }
  return metric === "step" ? state.step : lossAtStep(state, state.step, file);
}

function checkSameConfig(first: Adapter, other: Adapter): void {
  const [a, b] = [first.config.values, other.config.values];
  for (const field of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (freeFields.has(field) || sameSetting(a[field], b[field])) continue;
    throw new LoomweightError({
      code: "ADAPTER_MISMATCH",
      problem: "the adapters are configured differently",
      file: other.location,
      option: field,
      expected: `${JSON.stringify(a[field])} as in ${first.location}`,
      found: JSON.stringify(b[field]) ?? "nothing",
      fix: "Only checkpoints of one training run have parameters that can be averaged.",
    });
  }
}

/** Lists of modules are sets: PEFT writes them in any order. */
function sameSetting(a: unknown, b: unknown): boolean {
  const sorted = (value: unknown) => JSON.stringify(Array.isArray(value) ? [...value].sort() : value);
  return sorted(a) === sorted(b);
}

function card(folders: readonly string[], values: readonly number[], weights: Float64Array): string {
  const rows = folders.map((folder, i) => `| ${basename(folder)} | ${values[i]} | ${weights[i].toFixed(6)} |`);
  return [
    "---",
    "library_name: peft",
    "---",
    "",
    "# Averaged adapter",
    "",
    "Checkpoints of one training run, averaged with weights from a metric of each (arXiv:2504.18580) by loomweight.",
    "",
    "| checkpoint | metric | weight |",
    "| --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

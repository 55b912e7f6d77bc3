import { evaMetrics } from "@loomweight/adapters";
import {
  boolean,
  choice,
  integer,
  nonNegative,
  type OptionValues,
  parseOptions,
  positive,
  unknownName,
} from "@loomweight/tensor";
import type { Objective } from "../objectives.ts";
import { cordaStart } from "../starts/corda-start.ts";
import { evaStart } from "../starts/eva-start.ts";
import { loraGaStart } from "../starts/lora-ga-start.ts";
import type { DataStart, DataStartOptions } from "../starts/start-layers.ts";

const maxBatches = (standard: number) =>
  integer(standard, "batches of the training data that are looked at", { min: 1 });
const evaSpecs = {
  rho: positive(2, "a layer's rank is at most rho · rank"),
  tau: nonNegative(0.99, "cosine at which a direction has settled"),
  maxBatches: maxBatches(1000),
  whiten: boolean(false, "divide each direction by the root of its singular value"),
  scaleBySingularValues: boolean(false, "multiply each direction by its singular value over the largest"),
  adjustScaling: boolean(true, "alpha follows the rank"),
  metric: choice(evaMetrics, "ratio", "what ranks are dealt out by"),
  center: boolean(true, "take the mean out of the inputs"),
};
const cordaSpecs = {
  mode: choice(["ipm", "kpm"], "ipm", "train what the data uses most, or what it does not use"),
  maxBatches: maxBatches(256),
};
const loraGaSpecs = {
  direction: choice(["ArB2r", "A2rBr", "ArBr"], "ArB2r", "which directions of the gradient each factor gets"),
  stableGamma: positive(16, "B is multiplied by out^¼ / √stableGamma"),
  maxBatches: maxBatches(16),
};

/** How a fresh adapter starts from the training data: `by` and its options, checked. */
export type DataStartConfig =
  | ({ readonly by: "eva" } & OptionValues<typeof evaSpecs>)
  | ({ readonly by: "corda" } & OptionValues<typeof cordaSpecs>)
  | ({ readonly by: "lora-ga" } & OptionValues<typeof loraGaSpecs>);

/** Checks `adapter.start`. Throws `UNKNOWN_OPTION`, `INVALID_OPTION`. */
export function readDataStart(raw: Readonly<Record<string, unknown>>, file: string | undefined): DataStartConfig {
  const { by, ...options } = raw;
  const where = "adapter.start";
  switch (by) {
    case "eva":
      return { by, ...parseOptions(evaSpecs, options, where, { file }) };
    case "corda":
      return { by, ...parseOptions(cordaSpecs, options, where, { file }) };
    case "lora-ga":
      return { by, ...parseOptions(loraGaSpecs, options, where, { file }) };
    default:
      throw unknownName({
        kind: "start from data",
        name: String(by),
        known: ["eva", "corda", "lora-ga"],
        code: "UNKNOWN_OPTION",
        file,
        option: `${where}.by`,
      });
  }
}

/** Runs the model on the training data; the adapter and what it starts from, with warnings. */
export async function startFromData(
  config: DataStartConfig,
  options: DataStartOptions & { readonly objective: Objective },
): Promise<DataStart & { readonly warnings: readonly string[] }> {
  switch (config.by) {
    case "eva":
      return evaStart({ ...options, ...config });
    case "corda":
      return { ...(await cordaStart({ ...options, ...config })), warnings: [] };
    case "lora-ga":
      return { ...(await loraGaStart({ ...options, ...config })), warnings: [] };
  }
}

import type { ConfigReader } from "../config-reader.ts";

/** The stages of a convolutional encoder. */
export interface Stages {
  /** Layers of each stage. */
  readonly depths: readonly number[];
  /** Channels of each stage. */
  readonly sizes: readonly number[];
}

/** `depths` and `hidden_sizes`, of equal length. Throws `INVALID_CONFIG`. */
export function readStages(config: ConfigReader, defaults: Stages): Stages {
  const list = (field: string, initial: readonly number[], largest: number) => {
    const found = config.has(field) ? config.numbers(field) : initial;
    if (
      found.length === 0 ||
      found.length > 64 ||
      found.some((each) => !Number.isSafeInteger(each) || each < 1 || each > largest)
    ) {
      throw config.refuse(field, `1 to 64 whole numbers from 1 to ${largest}`);
    }
    return found;
  };
  const depths = list("depths", defaults.depths, 10000);
  const sizes = list("hidden_sizes", defaults.sizes, 65536);
  if (depths.length !== sizes.length) throw config.refuse("hidden_sizes", `${depths.length} numbers, as depths has`);
  // training, and what only the backbone class reads
  for (const field of ["drop_path_rate", "out_features", "out_indices", "stage_names"]) config.value(field);
  return { depths, sizes };
}

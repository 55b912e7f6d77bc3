// Written by `pnpm gen` from the files in methods/.
import type { AdapterMethod } from "./define.ts";
import { dora } from "./methods/dora.ts";
import { hydra } from "./methods/hydra.ts";
import { lora } from "./methods/lora.ts";
import { miss } from "./methods/miss.ts";

/** Every adapter method of this package, by name. */
export const adapterMethods: readonly AdapterMethod[] = [dora, hydra, lora, miss];

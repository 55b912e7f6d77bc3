// Written by `pnpm gen` from the files in methods/.
import type { AdapterMethod } from "./define.ts";
import { boft } from "./methods/boft.ts";
import { dora } from "./methods/dora.ts";
import { hira } from "./methods/hira.ts";
import { hra } from "./methods/hra.ts";
import { hydra } from "./methods/hydra.ts";
import { loha } from "./methods/loha.ts";
import { lokr } from "./methods/lokr.ts";
import { lora } from "./methods/lora.ts";
import { miss } from "./methods/miss.ts";
import { oft } from "./methods/oft.ts";

/** Every adapter method of this package, by name. */
export const adapterMethods: readonly AdapterMethod[] = [boft, dora, hira, hra, hydra, loha, lokr, lora, miss, oft];

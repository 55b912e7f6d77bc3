// Written by `pnpm gen` from the files in methods/.
import type { BlockMethod } from "./define-block.ts";
import { adapterTune } from "./methods/adaptertune.ts";
import { adaptFormer } from "./methods/adaptformer.ts";
import { tauGate } from "./methods/taugate.ts";

/** Every method of this package that changes activations at modules, by name. */
export const blockMethods: readonly BlockMethod[] = [adapterTune, adaptFormer, tauGate];

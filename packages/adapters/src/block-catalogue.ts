// Written by `pnpm gen` from the files in methods/.
import type { BlockMethod } from "./define-block.ts";
import { adapterTune } from "./methods/adaptertune.ts";
import { adaptFormer } from "./methods/adaptformer.ts";
import { compacter } from "./methods/compacter.ts";
import { hyperformer } from "./methods/hyperformer.ts";
import { tauGate } from "./methods/taugate.ts";
import { vlAdapter } from "./methods/vl-adapter.ts";

/** Every method of this package that changes activations at modules, by name. */
export const blockMethods: readonly BlockMethod[] = [
  adapterTune,
  adaptFormer,
  compacter,
  hyperformer,
  tauGate,
  vlAdapter,
];

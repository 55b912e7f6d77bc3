// Written by `pnpm gen` from the files in methods/.
import type { AdapterMethod } from "./define.ts";
import { beft } from "./methods/beft.ts";
import { boft } from "./methods/boft.ts";
import { c3a } from "./methods/c3a.ts";
import { deft } from "./methods/deft.ts";
import { delora } from "./methods/delora.ts";
import { dora } from "./methods/dora.ts";
import { fourierft } from "./methods/fourierft.ts";
import { gralora } from "./methods/gralora.ts";
import { hira } from "./methods/hira.ts";
import { hra } from "./methods/hra.ts";
import { hydra } from "./methods/hydra.ts";
import { ia3 } from "./methods/ia3.ts";
import { loha } from "./methods/loha.ts";
import { lokr } from "./methods/lokr.ts";
import { lora } from "./methods/lora.ts";
import { miss } from "./methods/miss.ts";
import { oft } from "./methods/oft.ts";
import { osf } from "./methods/osf.ts";
import { peanut } from "./methods/peanut.ts";
import { road } from "./methods/road.ts";
import { shira } from "./methods/shira.ts";
import { supertuning } from "./methods/supertuning.ts";
import { tera } from "./methods/tera.ts";
import { tlora } from "./methods/tlora.ts";
import { waveft } from "./methods/waveft.ts";

/** Every adapter method of this package, by name. */
export const adapterMethods: readonly AdapterMethod[] = [
  beft,
  boft,
  c3a,
  deft,
  delora,
  dora,
  fourierft,
  gralora,
  hira,
  hra,
  hydra,
  ia3,
  loha,
  lokr,
  lora,
  miss,
  oft,
  osf,
  peanut,
  road,
  shira,
  supertuning,
  tera,
  tlora,
  waveft,
];

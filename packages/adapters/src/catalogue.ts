// Written by `pnpm gen` from the files in methods/.
import type { AdapterMethod } from "./define.ts";
import { adalora } from "./methods/adalora.ts";
import { bdlora } from "./methods/bdlora.ts";
import { beft } from "./methods/beft.ts";
import { boft } from "./methods/boft.ts";
import { c3a } from "./methods/c3a.ts";
import { deft } from "./methods/deft.ts";
import { delora } from "./methods/delora.ts";
import { dora } from "./methods/dora.ts";
import { fourierft } from "./methods/fourierft.ts";
import { frod } from "./methods/frod.ts";
import { glora } from "./methods/glora.ts";
import { gralora } from "./methods/gralora.ts";
import { hira } from "./methods/hira.ts";
import { hra } from "./methods/hra.ts";
import { hydra } from "./methods/hydra.ts";
import { ia3 } from "./methods/ia3.ts";
import { kasa } from "./methods/kasa.ts";
import { lnTuning } from "./methods/ln-tuning.ts";
import { loha } from "./methods/loha.ts";
import { lokr } from "./methods/lokr.ts";
import { lora } from "./methods/lora.ts";
import { miss } from "./methods/miss.ts";
import { oft } from "./methods/oft.ts";
import { osf } from "./methods/osf.ts";
import { peanut } from "./methods/peanut.ts";
import { pvera } from "./methods/pvera.ts";
import { randlora } from "./methods/randlora.ts";
import { road } from "./methods/road.ts";
import { shira } from "./methods/shira.ts";
import { supertuning } from "./methods/supertuning.ts";
import { tera } from "./methods/tera.ts";
import { tinylora } from "./methods/tinylora.ts";
import { tlora } from "./methods/tlora.ts";
import { trainableTokens } from "./methods/trainable-tokens.ts";
import { unilora } from "./methods/unilora.ts";
import { vblora } from "./methods/vblora.ts";
import { vera } from "./methods/vera.ts";
import { waveft } from "./methods/waveft.ts";

/** Every adapter method of this package, by name. */
export const adapterMethods: readonly AdapterMethod[] = [
  adalora,
  bdlora,
  beft,
  boft,
  c3a,
  deft,
  delora,
  dora,
  fourierft,
  frod,
  glora,
  gralora,
  hira,
  hra,
  hydra,
  ia3,
  kasa,
  lnTuning,
  loha,
  lokr,
  lora,
  miss,
  oft,
  osf,
  peanut,
  pvera,
  randlora,
  road,
  shira,
  supertuning,
  tera,
  tinylora,
  tlora,
  trainableTokens,
  unilora,
  vblora,
  vera,
  waveft,
];

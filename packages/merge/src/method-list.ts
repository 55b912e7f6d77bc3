// Written by `pnpm gen` from the files in methods/.
import type { AnyMergeMethod } from "./define.ts";
import { arceeFusion } from "./methods/arcee-fusion.ts";
import { breadcrumbs } from "./methods/breadcrumbs.ts";
import { breadcrumbsTies } from "./methods/breadcrumbs-ties.ts";
import { dareLinear } from "./methods/dare-linear.ts";
import { dareTies } from "./methods/dare-ties.ts";
import { della } from "./methods/della.ts";
import { dellaLinear } from "./methods/della-linear.ts";
import { karcher } from "./methods/karcher.ts";
import { linear } from "./methods/linear.ts";
import { modelStock } from "./methods/model-stock.ts";
import { multislerp } from "./methods/multislerp.ts";
import { nearswap } from "./methods/nearswap.ts";
import { nuslerp } from "./methods/nuslerp.ts";
import { passthrough } from "./methods/passthrough.ts";
import { ram } from "./methods/ram.ts";
import { ramplusTl } from "./methods/ramplus-tl.ts";
import { sce } from "./methods/sce.ts";
import { slerp } from "./methods/slerp.ts";
import { taskArithmetic } from "./methods/task-arithmetic.ts";
import { ties } from "./methods/ties.ts";

/** Every merge method by name: what recipes and the command line look methods up in. */
export const mergeMethods: readonly AnyMergeMethod[] = [
  arceeFusion,
  breadcrumbs,
  breadcrumbsTies,
  dareLinear,
  dareTies,
  della,
  dellaLinear,
  karcher,
  linear,
  modelStock,
  multislerp,
  nearswap,
  nuslerp,
  passthrough,
  ram,
  ramplusTl,
  sce,
  slerp,
  taskArithmetic,
  ties,
];

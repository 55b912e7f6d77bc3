import { throughParts } from "../gradient/by-parts.ts";
import { defineGradients } from "../gradient/rule.ts";
import { einsumByParts } from "../ops/einsum.ts";
import {
  groupNormalizationByParts,
  instanceNormalizationByParts,
  lpNormalizationByParts,
  lrnByParts,
} from "../ops/group-normalize.ts";
import { likelihoodLossByParts, softmaxLossByParts } from "../ops/losses.ts";
import { depthToSpaceByParts, spaceToDepthByParts } from "../ops/rearrange.ts";
import { recurrentByParts } from "../ops/recurrent.ts";

/** Ops whose gradient is that of the ops they consist of. */
export const composedGradients = /* @__PURE__ */ defineGradients({
  DepthToSpace: throughParts(depthToSpaceByParts),
  SpaceToDepth: throughParts(spaceToDepthByParts),
  LSTM: throughParts(recurrentByParts("LSTM")),
  GRU: throughParts(recurrentByParts("GRU")),
  RNN: throughParts(recurrentByParts("RNN")),
  Einsum: throughParts(einsumByParts),
  GroupNormalization: throughParts(groupNormalizationByParts),
  InstanceNormalization: throughParts(instanceNormalizationByParts),
  LpNormalization: throughParts(lpNormalizationByParts),
  LRN: throughParts(lrnByParts),
  NegativeLogLikelihoodLoss: throughParts(likelihoodLossByParts),
  SoftmaxCrossEntropyLoss: throughParts(softmaxLossByParts),
});

import {
  add,
  clip,
  div,
  gatherElements,
  logSoftmax,
  mul,
  neg,
  reduceMean,
  reduceSum,
  softmax,
  squeeze,
  stopGradient,
  sub,
  unsqueeze,
  type Value,
} from "@loomweight/graph";
import { sharingOf, spreadScales } from "./along-axis.ts";
import { codeRange, type LsqOptions, lsq } from "./lsq.ts";

/**
 * Cross-entropy with the labels plus cross-entropy with the teacher's probabilities, each with a weight of 1: logits and
 * teacher's logits [rows, classes], labels int32 or int64 [rows]. Source: Liu et al. 2023, arXiv:2302.02210.
 */
export function distillationLoss(logits: Value, labels: Value, teacherLogits: Value): Value {
  const logs = logSoftmax(logits, -1);
  const hard = neg(reduceMean(squeeze(gatherElements(logs, unsqueeze(labels, [1]), 1), [1]), undefined, false));
  const teacher = stopGradient(softmax(teacherLogits, -1));
  const soft = neg(reduceMean(reduceSum(mul(teacher, logs), [1], false), undefined, false));
  return add(hard, soft);
}

/**
 * Σ (code · s − clip(w))²: draws weights to the middle of their codes, so that they oscillate less. The codes count as
 * given. Source: Nagel et al. 2022, arXiv:2203.11086.
 */
export function dampeningLoss(weight: Value, scale: Value, options: LsqOptions): Value {
  const sharing = sharingOf(weight, options.axis, "dampeningLoss");
  const [low, high] = codeRange(options);
  const spread = spreadScales(scale, sharing);
  const coded = stopGradient(lsq(weight, scale, options));
  const held = mul(clip(div(weight, spread), low, high), spread);
  const error = sub(coded, held);
  return reduceSum(mul(error, error), undefined, false);
}

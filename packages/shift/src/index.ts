export { type Adapter, type AdaptOptions, adapt } from "./adapt.ts";
export { type AffinityKind, type AffinityOptions, affinityMatrix } from "./affinity.ts";
export type { Statistics } from "./batch-statistics.ts";
export * from "./define.ts";
export {
  type ForwardOptions,
  type GraphClassifier,
  type GraphClassifierOptions,
  openGraphClassifier,
} from "./graph-classifier.ts";
export { correctPredictions, type LameOptions, type LameResult, lameObjective } from "./laplacian.ts";
// methods:begin, written by `pnpm gen`
export { bnAdapt } from "./methods/bn-adapt.ts";
export { cotta } from "./methods/cotta.ts";
export { lame } from "./methods/lame.ts";
export { tent } from "./methods/tent.ts";
// methods:end
export { mutualInformation } from "./mutual-information.ts";
export type { NormLayer } from "./norm-layers.ts";
export { type Rows, rowsOf } from "./rows.ts";
export { decodeState, encodeState } from "./save-state.ts";
export * from "./streams.ts";
export { trainableWeights } from "./trainable-weights.ts";
export * from "./trained.ts";

export * from "./define.ts";
export * from "./define-sampler.ts";
export { type CoefficientPart, coefficients } from "./entangle/coefficients.ts";
export { expectedSize } from "./entangle/expected-size.ts";
export { extract } from "./entangle/extract.ts";
export type { Probabilities } from "./entangle/probabilities.ts";
export { sliceWeight } from "./entangle/slice.ts";
export { superpose } from "./entangle/superpose.ts";
// methods:begin, written by `pnpm gen`
export { tanglenas } from "./methods/tanglenas.ts";
// methods:end
export type { AttentionOptions } from "./network/attention.ts";
export { chosenNetwork } from "./network/chosen.ts";
export { type MixtureOptions, mixtureNetwork } from "./network/mixture.ts";
export { networkModel } from "./network/model.ts";
export type { Network, NetworkModel } from "./network/network.ts";
// samplers:begin, written by `pnpm gen`
export { darts } from "./samplers/darts.ts";
export { drnas } from "./samplers/drnas.ts";
export { gdas } from "./samplers/gdas.ts";
export { spos } from "./samplers/spos.ts";
// samplers:end
export { bestArchitecture, type CandidateOptions, type Scored } from "./search/candidates.ts";
export type { Search, SearchStep } from "./search/search.ts";
export type { Cost, NetworkLoss, SearchBatches, SearchSnapshot, SearchTask } from "./search/task.ts";
export { type Axis, type Centred, centred, type Product, product, type Size } from "./space/axis.ts";
export { type Architecture, choice, type Decision } from "./space/choice.ts";
export { initialWeights } from "./space/initial.ts";
export { convolutionSpace, embeddingSpace, fromDepth, linearSpace, normSpace } from "./space/layers.ts";
export {
  allArchitectures,
  chosenShape,
  countArchitectures,
  countParameters,
  defineSpace,
  largestArchitecture,
  largestShape,
  type ParameterSpec,
  type Space,
} from "./space/space.ts";

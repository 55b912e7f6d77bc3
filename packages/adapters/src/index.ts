// methods:begin, written by `pnpm gen`
export { adalora } from "./methods/adalora.ts";
export { adapterTune } from "./methods/adaptertune.ts";
export { adaptFormer } from "./methods/adaptformer.ts";
export { bdlora } from "./methods/bdlora.ts";
export { beft } from "./methods/beft.ts";
export { boft } from "./methods/boft.ts";
export { c3a } from "./methods/c3a.ts";
export { compacter } from "./methods/compacter.ts";
export { deft } from "./methods/deft.ts";
export { delora } from "./methods/delora.ts";
export { dora } from "./methods/dora.ts";
export { fourierft } from "./methods/fourierft.ts";
export { frod } from "./methods/frod.ts";
export { glora } from "./methods/glora.ts";
export { gralora } from "./methods/gralora.ts";
export { hira } from "./methods/hira.ts";
export { hra } from "./methods/hra.ts";
export { hydra } from "./methods/hydra.ts";
export { hyperformer } from "./methods/hyperformer.ts";
export { ia3 } from "./methods/ia3.ts";
export { kasa } from "./methods/kasa.ts";
export { lnTuning } from "./methods/ln-tuning.ts";
export { loha } from "./methods/loha.ts";
export { lokr } from "./methods/lokr.ts";
export { lora } from "./methods/lora.ts";
export { miss } from "./methods/miss.ts";
export { oft } from "./methods/oft.ts";
export { osf } from "./methods/osf.ts";
export { peanut } from "./methods/peanut.ts";
export { pvera } from "./methods/pvera.ts";
export { randlora } from "./methods/randlora.ts";
export { road } from "./methods/road.ts";
export { shira } from "./methods/shira.ts";
export { supertuning } from "./methods/supertuning.ts";
export { tauGate } from "./methods/taugate.ts";
export { tera } from "./methods/tera.ts";
export { tinylora } from "./methods/tinylora.ts";
export { tlora } from "./methods/tlora.ts";
export { trainableTokens } from "./methods/trainable-tokens.ts";
export { unilora } from "./methods/unilora.ts";
export { vblora } from "./methods/vblora.ts";
export { vera } from "./methods/vera.ts";
export { vlAdapter } from "./methods/vl-adapter.ts";
export { waveft } from "./methods/waveft.ts";
// methods:end

export { blockMethods } from "./block-catalogue.ts";
export { adapterMethods } from "./catalogue.ts";
export * from "./define.ts";
export * from "./define-block.ts";
export { compareFolded, type FoldedComparison } from "./fold/compare-folded.ts";
export {
  type FoldedCheckpoint,
  type FoldedCheckpointOptions,
  foldAdapters,
  foldedCheckpoint,
  type OpenFoldedOptions,
  openFolded,
} from "./fold/folded-checkpoint.ts";
export {
  type FoldBase,
  type FoldedTensor,
  type FoldOperation,
  type FoldPlan,
  type FoldPlanOptions,
  type FoldStep,
  planFold,
} from "./fold/plan.ts";
export { unfoldAdapters } from "./fold/unfolded-checkpoint.ts";
export { type CordaOptions, corda } from "./initialise/corda.ts";
export {
  type EvaLayers,
  type EvaMetric,
  type EvaOptions,
  type EvaStart,
  eva,
  evaCount,
  evaMetrics,
  evaOptions,
} from "./initialise/eva.ts";
export {
  type EvaDirections,
  type EvaDirectionsOptions,
  type EvaLayer,
  evaDirections,
} from "./initialise/eva-directions.ts";
export { type LoraGaOptions, loraGa } from "./initialise/lora-ga.ts";
export {
  type IncrementalPca,
  type IncrementalPcaOptions,
  incrementalPca,
  type PrincipalDirections,
} from "./initialise/principal-directions.ts";
export { distributeRanks, type RankedLayer } from "./initialise/rank-distribution.ts";
export type { StartFromBase } from "./initialise/start-from-base.ts";
export { type LayerKind, type LayerShape, layerOf } from "./layer.ts";
export { type ForeignAdapters, readForeignAdapters } from "./layouts/foreign-adapters.ts";
export type { KeyLayout } from "./layouts/foreign-keys.ts";
export { foreignFile, type WriteForeignOptions } from "./layouts/write-foreign.ts";
export { type LowRankOptions, lowRankScale } from "./maths/low-rank.ts";
export { type Sharing, type TaskSchedule, taskSchedule, taskShares } from "./maths/tasks.ts";
export { identityPenalty, orthogonalPenalty, ringTransform } from "./maths/tensor-ring.ts";
export type { BeftOptions } from "./methods/beft.ts";
export type { BoftOptions } from "./methods/boft.ts";
export type { C3aOptions } from "./methods/c3a.ts";
export type { DeftOptions } from "./methods/deft.ts";
export type { DeloraOptions } from "./methods/delora.ts";
export { type DoraOptions, factoredSquares } from "./methods/dora.ts";
export type { FourierftOptions } from "./methods/fourierft.ts";
export type { FrodOptions } from "./methods/frod.ts";
export type { GloraOptions } from "./methods/glora.ts";
export type { GraloraOptions } from "./methods/gralora.ts";
export type { HiraOptions } from "./methods/hira.ts";
export type { HraOptions } from "./methods/hra.ts";
export type { Ia3Options } from "./methods/ia3.ts";
export type { LohaOptions } from "./methods/loha.ts";
export type { LokrOptions } from "./methods/lokr.ts";
export type { LoraOptions } from "./methods/lora.ts";
export { type MissOptions, missToLora } from "./methods/miss.ts";
export type { OftOptions } from "./methods/oft.ts";
export type { OsfOptions } from "./methods/osf.ts";
export type { PeanutOptions } from "./methods/peanut.ts";
export type { RoadOptions } from "./methods/road.ts";
export type { ShiraOptions } from "./methods/shira.ts";
export type { SupertuningOptions } from "./methods/supertuning.ts";
export type { TeraOptions } from "./methods/tera.ts";
export type { TloraOptions } from "./methods/tlora.ts";
export type { WaveftOptions } from "./methods/waveft.ts";
export type { AdaptedModule, Adapter } from "./peft/adapter.ts";
export type { ConfigField, Json, KeySuffix, PeftConfig, PeftFormat } from "./peft/format.ts";
export { type NewAdapter, type NewModule, newAdapterFiles } from "./peft/new-adapter.ts";
export { openAdapter, type ReadAdapterOptions, readAdapter } from "./peft/read-adapter.ts";
export {
  requireNoWrapped,
  type WrappedFactors,
  type WrappedModule,
  type WrappedParameters,
} from "./peft/wrapped.ts";
export { type AdapterFiles, writeAdapter } from "./peft/write-adapter.ts";
export { adapterRandom } from "./random/adapter-random.ts";
export { elbow, type RankScore, rankSweep, type ShiftSpectrum, shiftSpectrum } from "./rank-budget.ts";

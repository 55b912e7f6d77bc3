export { type AdapterTensors, averageAdapters } from "./adapters/average-adapters.ts";
export { type CombinedAdapter, combineAdapters, type WeightedAdapter } from "./adapters/combine-adapters.ts";
export type { MajoritySign } from "./adapters/combine-elements.ts";
export {
  type Combination,
  type CombinedUpdate,
  type CombineOptions,
  combinations,
  combineLowRank,
} from "./adapters/combine-low-rank.ts";
export {
  type ExtractedLayer,
  type ExtractedLora,
  type ExtractLoraOptions,
  extractLora,
} from "./adapters/extract-lora.ts";
export { type LoraLego, type LoraLegoOptions, loraLego, loraLegoOptions } from "./adapters/lora-lego.ts";
export { type LowRankUpdate, lowRankSum } from "./adapters/low-rank-sum.ts";
export { type MeasuredAdapter, metricsWeightedAverage } from "./adapters/mwa.ts";
export { lossAtStep, readTrainerState, type TrainerState } from "./adapters/trainer-state.ts";
export {
  type TruncatedUpdate,
  type TruncateOptions,
  truncateDelta,
  truncateLowRank,
} from "./adapters/truncate-low-rank.ts";
export { checkpointSource } from "./checkpoint-source.ts";
export { signConsensusMean, type WeightedTaskVector, weightedMean } from "./consensus.ts";
export { continualAverage, continualTaskArithmetic } from "./continual/baselines.ts";
export {
  type IsLinear,
  isLinearWeight,
  type ModelTensors,
  type OpcmOptions,
  type OpcmState,
  type OpcmStep,
  opcmLambda,
  opcmMerged,
  opcmStep,
} from "./continual/opcm.ts";
export { type ProjectionOptions, projectTaskVector } from "./continual/project-task-vector.ts";
export { type ContinualTiesOptions, continualTies } from "./continual/ties.ts";
export {
  type AnyMergeMethod,
  defineMergeMethod,
  type MergeContext,
  type MergeInput,
  type MergeMethod,
  type MergeNeeds,
  type MergeSources,
} from "./define.ts";
export { type ExecuteOptions, executePlan, type MergeProgress } from "./execute.ts";
export { type ExplainedInput, type ExplainedTensor, explainTensor, type TensorExplanation } from "./explain.ts";
export type { FormulaTerms } from "./formula.ts";
export { createEngine, type Engine, type EngineOptions, engineBytes, type TileSource } from "./lazy/engine.ts";
export {
  add,
  type BlockFunction,
  constant,
  divideBy,
  elementwise,
  fromSource,
  type LazyTensor,
  multiply,
  scale,
  subtract,
  weightedSum,
} from "./lazy/lazy-tensor.ts";
export { gram, streamRows, sumsAbs, valuesOf } from "./lazy/reduce.ts";
export { selectLargest } from "./lazy/select.ts";
export { type StoreOptions, storeTensor } from "./lazy/store.ts";
export type { MagnitudeCut } from "./magnitude-cut.ts";
export { type MergeModels, type MergeOptions, merge, tensorSource } from "./merge.ts";
export { type FolderMerge, type FolderMergeOptions, planFolders } from "./merge-folders.ts";
export type { MergeTensorOptions, TensorSink } from "./merge-tensor.ts";
export { mergedCheckpoint } from "./merged-checkpoint.ts";
export { mergeMethods } from "./method-list.ts";
// methods:begin, written by `pnpm gen`
export { arceeFusion } from "./methods/arcee-fusion.ts";
export { breadcrumbs } from "./methods/breadcrumbs.ts";
export { breadcrumbsTies } from "./methods/breadcrumbs-ties.ts";
export { dareLinear } from "./methods/dare-linear.ts";
export { dareTies } from "./methods/dare-ties.ts";
export { della } from "./methods/della.ts";
export { dellaLinear } from "./methods/della-linear.ts";
export { karcher } from "./methods/karcher.ts";
export { linear } from "./methods/linear.ts";
export { modelStock } from "./methods/model-stock.ts";
export { multislerp } from "./methods/multislerp.ts";
export { nearswap } from "./methods/nearswap.ts";
export { nuslerp } from "./methods/nuslerp.ts";
export { passthrough } from "./methods/passthrough.ts";
export { ram } from "./methods/ram.ts";
export { ramplusTl } from "./methods/ramplus-tl.ts";
export { sce } from "./methods/sce.ts";
export { slerp } from "./methods/slerp.ts";
export { taskArithmetic } from "./methods/task-arithmetic.ts";
export { ties } from "./methods/ties.ts";
// methods:end
export { type MetricWeightOptions, metricWeights } from "./metric-weights.ts";
export { type AdapterBase, type ModelAdapter, openModelAdapter, type PlannedAdaptation } from "./model-adapter.ts";
export type {
  MergePlan,
  PlannedTokenizer,
  PlannedVocabulary,
  TensorInput,
  TensorPlan,
  TensorReference,
} from "./plan/plan.ts";
export {
  adaptersOfDocuments,
  modelsOfDocuments,
  type PlanDocumentsOptions,
  planDocuments,
} from "./plan/plan-documents.ts";
export { type PlanModel, type PlanOptions, planMerge } from "./plan/plan-merge.ts";
export { planCheckpoints } from "./plan-checkpoints.ts";
export { modelsOf, parseRecipeDocuments, type RecipeDocuments } from "./recipe/documents.ts";
export type { ModelReference } from "./recipe/model-reference.ts";
export { readYaml } from "./recipe/plain-yaml.ts";
export { parseRecipe, type Recipe, type RecipeContext } from "./recipe/recipe.ts";
export { recipeYaml } from "./recipe/write-yaml.ts";
export {
  type RecipeSearchResult,
  type ScoredCandidate,
  type SearchCandidate,
  type SearchRecipeOptions,
  searchRecipe,
} from "./search/search-recipe.ts";
export { readSearchSpace, type SearchedScalar, type SearchSpace } from "./search/search-space.ts";
export {
  type BestCandidate,
  checkSearchState,
  type NewSearchOptions,
  newSearchState,
  type RecipeSearchState,
} from "./search/search-state.ts";
export { keepLargest, keepMiddle, keepWithin, rescaleToL1 } from "./sparsify.ts";
export { type StreamedFile, type StreamMergeOptions, streamMerge } from "./stream-merge.ts";
export { addTaskVector, taskVector } from "./task-vector.ts";

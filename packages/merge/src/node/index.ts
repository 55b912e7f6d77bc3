export { type AverageAdapterFoldersOptions, averageAdapterFolders } from "./average-adapter-folders.ts";
export { type CombineAdapterFoldersOptions, combineAdapterFolders } from "./combine-adapter-folders.ts";
export { type DryRun, dryRunMerge, explainMerge } from "./dry-run.ts";
export { type ExtractLoraFolderOptions, extractLoraFolder } from "./extract-lora-folder.ts";
export { type MergeModelOptions, type MergeReport, mergeModel, planModel } from "./merge-model.ts";
export type { MergeMethodModule } from "./method-reference.ts";
export { resolveModelPath } from "./resolve-model.ts";
export { type MergedCandidate, type SearchModelsOptions, searchModels } from "./search-models.ts";
